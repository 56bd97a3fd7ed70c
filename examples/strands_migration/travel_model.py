"""The model of both programs: one of Strands' own kind that needs no key, because it knows its answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from strands.models import Model

__all__ = ["TravelModel"]


class TravelModel(Model):
    """Asks for the weather, then tells it; asked for a plan, it gives one."""

    def update_config(self, **model_config: Any) -> None:
        """It has nothing to configure."""

    def get_config(self) -> Any:
        """The configuration."""
        return {"model_id": "travel"}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """Left out: agents use a tool for it."""
        raise NotImplementedError

    async def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, messages: Any, tool_specs: Any = None, *args: Any, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The chunks of its next message."""
        offered = [spec["name"] for spec in tool_specs or []]
        last = messages[-1]["content"]
        told = [block["toolResult"]["content"][0]["text"] for block in last if "toolResult" in block]
        if told:
            blocks = [*_text(*(f"{text}. " for text in told))]
        elif "Plan" in offered:
            blocks = [*_call("plan", "Plan", {"city": "Bonn", "pack": ["umbrella", "map"]})]
        else:
            blocks = [*_call("bonn", "weather", {"city": "Bonn"}), *_call("atlantis", "weather", {"city": "Atlantis"})]
        yield {"messageStart": {"role": "assistant"}}
        for block in blocks:
            yield block
        yield {"messageStop": {"stopReason": "end_turn" if told else "tool_use"}}
        usage = {"inputTokens": 20, "outputTokens": 8, "totalTokens": 28}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 3}}}


def _text(*pieces: str) -> Iterator[Any]:
    yield {"contentBlockStart": {"start": {}}}
    for piece in pieces:
        yield {"contentBlockDelta": {"delta": {"text": piece}}}
    yield {"contentBlockStop": {}}


def _call(call: str, name: str, given: dict[str, Any]) -> Iterator[Any]:
    yield {"contentBlockStart": {"start": {"toolUse": {"toolUseId": call, "name": name}}}}
    yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(given)}}}}
    yield {"contentBlockStop": {}}
