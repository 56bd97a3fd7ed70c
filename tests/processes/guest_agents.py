"""A guest whose first worker dies in a tool, and in a model's answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from playhead.runtime import GuestContext, current_call

__all__ = ["clerk"]


def _note(what: str) -> int:
    """Note an effect; how often it was there before."""
    file = Path("effects.txt")
    before = file.read_text().splitlines() if file.exists() else []
    with file.open("a") as out:
        out.write(f"{what}\n")
    return before.count(what)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Pay, say a word, and die the first time in the middle of each."""

    async def look() -> str:
        _note("look")
        return "seen"

    async def pay() -> str:
        call = current_call()
        assert call is not None
        if _note(f"pay {call.effect_key.removeprefix(ctx.run_id)}") == 0:
            _die()
        return f"paid in attempt {call.attempt}"

    async def words() -> AsyncGenerator[str]:
        again = _note("asked")
        for word in ("One", " and", " two"):
            if word == " two" and not again:
                await asyncio.sleep(0.3)  # the words before are in the log by now
                _die()
            yield word

    yield {"look": await ctx.step("look", look)}
    yield {"pay": await ctx.tool({"name": "pay", "toolUseId": "t1"}, pay)}
    text = "".join([word async for word in ctx.model("say", words)])
    ctx.result = text
