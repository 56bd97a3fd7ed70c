"""A Strands agent whose workers die: in a tool of an agent within it, and in the middle of its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import strands
from effects import dies_before, look, pay
from strands.models.model import Model

__all__ = ["make_agent"]


def _text(*parts: str) -> list[Any]:
    deltas = [{"contentBlockDelta": {"delta": {"text": part}}} for part in parts]
    return [{"contentBlockStart": {"start": {}}}, *deltas, {"contentBlockStop": {}}]


def _call(name: str, use_id: str, given: str) -> list[Any]:
    return [
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": use_id, "name": name}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": given}}}},
        {"contentBlockStop": {}},
    ]


class Says(Model):
    """Says its messages by how many of them it is shown, and dies in a text that ends in `!`, once."""

    def __init__(self, *messages: list[Any]) -> None:
        self.said = messages

    def update_config(self, **model_config: Any) -> None:
        """Nothing to change."""

    def get_config(self) -> Any:
        """Nothing to tell."""
        return {}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """Not used."""
        raise NotImplementedError

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The next message."""
        blocks = self.said[sum(one["role"] == "assistant" for one in messages)]
        yield {"messageStart": {"role": "assistant"}}
        for chunk in blocks:
            await dies_before(chunk.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
            yield chunk
        calls = any("toolUse" in str(chunk) for chunk in blocks)
        yield {"messageStop": {"stopReason": "tool_use" if calls else "end_turn"}}
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}


def make_agent() -> strands.Agent:
    """An agent with another one as a tool."""
    inner = strands.Agent(
        name="clerk",
        description="pays",
        model=Says(_call("look", "l", "{}"), _call("pay", "p", "{}"), _text("It is paid.")),
        tools=[strands.tool(look), strands.tool(pay)],
        callback_handler=None,
    )
    model = Says(_call("clerk", "c", '{"input": "pay"}'), _text("All", " done", "!"))
    return strands.Agent(model=model, tools=[inner], callback_handler=None)
