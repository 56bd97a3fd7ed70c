"""An airline's desk as agents of the OpenAI Agents SDK, hosted as they are: a triage that hands over, and a tool that asks.

Needs: pip install playhead-workers 'playhead-runtime[openai-agents]'

    playhead worker examples/airline/desk.py
    playhead ask desk "I want seat 7A"

Nothing in it is playhead's. `Offline` stands for a model, so that it runs without a key: take model="gpt-5" instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, RunContextWrapper, handoff
from agents.decorators import tool
from agents.testing import ScriptedModel, assistant_message, function_call

__all__ = ["desk"]


class Offline(Model):
    """Says the first of its answers that fits: each is for so many results of calls that it was told of."""

    def __init__(self, *answers: Any) -> None:
        self._answers = answers

    def _script(self, items: Any) -> ScriptedModel:
        last = max(place for place, item in enumerate(items) if item.get("role") == "user")
        told = sum(item.get("type") == "function_call_output" for item in items[last:])
        return ScriptedModel([[self._answers[told]]])

    async def get_response(self, system_instructions: Any, input: Any, *given: Any, **more: Any) -> Any:  # noqa: A002
        """A whole answer."""
        return await self._script(input).get_response(system_instructions, input, *given, **more)

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """An answer as a stream."""
        async for event in self._script(input).stream_response(system_instructions, input, *given, **more):
            yield event


@tool(needs_approval=True)
async def update_seat(context: RunContextWrapper[Any], seat: str) -> str:
    """Give the passenger another seat."""
    context.context["seat"] = seat
    return f"Seat {seat} is booked on {context.context['flight']}."


async def on_handoff(context: RunContextWrapper[Any]) -> None:
    """The clerk needs to know the flight."""
    context.context["flight"] = "LH 400"


def desk() -> Agent[Any]:
    """The triage, which hands over to the clerk."""
    clerk = Agent[Any](
        name="Clerk",
        instructions="Book seats.",
        tools=[update_seat],
        model=Offline(
            None,  # it is told of the handover
            function_call("update_seat", {"seat": "7A"}, call_id="call_2"),
            assistant_message("You have seat 7A on LH 400."),
        ),
    )
    return Agent[Any](
        name="Triage",
        instructions="Hand over to the one who can help.",
        handoffs=[handoff(clerk, on_handoff=on_handoff)],
        model=Offline(function_call("transfer_to_clerk", {}, call_id="call_1")),
    )
