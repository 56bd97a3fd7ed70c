"""A guest whose first worker dies in a tool, and in a model's answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from effects import dies_before, look, pay

from playhead.runtime import GuestContext

__all__ = ["clerk"]


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Pay, say a word, and die the first time in the middle of each."""

    async def looks() -> str:
        return look()

    async def pays() -> str:
        return pay()

    async def words() -> AsyncGenerator[str]:
        for word in ("One", " and", " two!"):
            await dies_before(word)
            yield word

    yield {"look": await ctx.step("look", looks)}
    yield {"pay": await ctx.tool({"name": "pay", "toolUseId": "t1"}, pays)}
    text = "".join([word async for word in ctx.model("say", words)])
    ctx.result = text
