"""Strands agents whose worker is killed from outside: in tools side by side, in nodes of a graph, and while they are paused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import strands
from effects import note
from strands.models.model import Model
from strands.multiagent import GraphBuilder
from strands.multiagent.graph import Graph

from playhead.runtime.guests.strands import StrandsGuest

__all__ = ["asker", "both", "payer"]

Call = tuple[str, str, dict[str, Any]]


class Says(Model):
    """Makes these calls, then says the text."""

    def __init__(self, text: str, *calls: Call) -> None:
        self.text, self.calls = text, calls

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
        calls = self.calls if messages[-1]["content"][0].get("toolResult") is None else ()
        note(f"asked {self.text} {len(calls)}")
        yield {"messageStart": {"role": "assistant"}}
        for name, use_id, given in calls:
            yield {"contentBlockStart": {"start": {"toolUse": {"toolUseId": use_id, "name": name}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(given)}}}}
            yield {"contentBlockStop": {}}
        if not calls:
            yield {"contentBlockDelta": {"delta": {"text": self.text}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if calls else "end_turn"}}
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}


@strands.tool
def look(what: str) -> str:
    """Look."""
    note(f"look {what}")
    return f"seen {what}"


async def _pay(what: str) -> str:
    """Pay; the first time it does not come to an end."""
    if note(f"pay {what}") == 0:
        await asyncio.sleep(600)
    return f"paid {what}"


pay_again = strands.tool(name="pay_again")(_pay)
pay_once = strands.tool(name="pay_once")(_pay)
pay_asking = strands.tool(name="pay_asking")(_pay)


@strands.tool(context=True)
def ask(what: str, tool_context: strands.ToolContext) -> str:
    """Ask."""
    return f"{what}: {tool_context.interrupt('approve', reason=what)}"


def _agent(name: str, *calls: Call) -> strands.Agent:
    tools = [look, pay_again, pay_once, pay_asking, ask]
    return strands.Agent(model=Says(f"{name} is done.", *calls), tools=tools, name=name, callback_handler=None)


def _payer() -> strands.Agent:
    """Looks, and pays in three ways, side by side."""
    names = ("pay_again", "pay_once", "pay_asking")
    pays: list[Call] = [(name, name, {"what": name}) for name in names]
    return _agent("payer", ("look", "l", {"what": "payer"}), *pays)


payer = StrandsGuest(_payer, name="payer", on_unknown_outcome={"pay_once": "fail", "pay_asking": "ask"})


def asker() -> strands.Agent:
    """Asks."""
    return _agent("asker", ("ask", "a", {"what": "this"}))


def both() -> Graph:
    """Two nodes side by side: one looks, and one pays."""
    builder = GraphBuilder()
    builder.add_node(_agent("left", ("look", "l", {"what": "left"})), "left")
    builder.add_node(_agent("right", ("pay_again", "p", {"what": "right"})), "right")
    builder.set_entry_point("left")
    builder.set_entry_point("right")
    return builder.set_max_node_executions(4).build()
