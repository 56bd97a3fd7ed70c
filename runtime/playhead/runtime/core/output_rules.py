"""When a run has its structured output, and what is done while it has not. Pure; `decide` asks here."""

from __future__ import annotations

from typing import Any

from playhead.runtime.core.state import RunState, tool_uses
from playhead.runtime.core.steps import AddMessage, ProduceOutput, ReadOutput
from playhead.runtime.core.terms import Terms

__all__ = ["output_after_answer", "output_of_batch"]


def output_of_batch(state: RunState, terms: Terms) -> ProduceOutput | None:
    """The first valid structured output among the calls of a batch that is done, unless it is already in the log."""
    if terms.output is None or state.output is not None:
        return None
    for index, call in enumerate(tool_uses(state.messages[-1])):
        if call["name"] == terms.output.name and state.results[index]["status"] == "success":
            return ProduceOutput(terms.output.name, _value(call["input"]))
    return None


def _value(given: Any) -> Any:
    return {} if given is None else given  # None counts as {} for every tool


def output_after_answer(state: RunState, terms: Terms) -> AddMessage | ReadOutput | None:
    """What follows an answer that ended the turn: ask for the structured output, once, then read it from the text."""
    if terms.output is None or state.output is not None or state.stop_reason != "end_turn" or state.cancelled:
        return None
    if state.forced:
        return ReadOutput(state.messages[-1])
    return AddMessage({"role": "user", "content": [{"text": terms.asks_for_output}]}, "structured_output")
