"""An agent of pydantic-ai whose workers die: in a tool, and in the middle of its answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from playhead.runtime import current_call

__all__ = ["make_agent"]


def _note(what: str) -> int:
    """Note an effect; how often it was there before."""
    file = Path("effects.txt")
    before = file.read_text().splitlines() if file.exists() else []
    with file.open("a") as out:
        out.write(f"{what}\n")
    return before.count(what)


async def _says(messages: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
    step = sum(isinstance(one, ModelResponse) for one in messages)
    if step < 2:
        yield {0: DeltaToolCall(name=("look", "pay")[step], json_args="{}", tool_call_id=f"t{step}")}
        return
    for piece in ("All", " done", "!"):
        if piece == "!" and _note("asked") == 0:
            await asyncio.sleep(0.3)  # the pieces before are in the log by now
            os.kill(os.getpid(), signal.SIGKILL)
        yield piece


def look() -> str:
    """Look."""
    _note("look")
    return "seen"


def pay() -> str:
    """Pay, and die the first time."""
    call = current_call()
    assert call is not None
    if _note(f"pay {call.effect_key.removeprefix(call.run_id)}") == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"paid in attempt {call.attempt}"


def make_agent() -> Agent:
    """An agent with two tools."""
    return Agent(FunctionModel(stream_function=_says), tools=[look, pay])
