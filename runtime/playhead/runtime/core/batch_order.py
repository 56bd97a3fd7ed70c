"""The order of the results in the message after a batch of tool calls, which is Strands'. Pure."""

from __future__ import annotations

from playhead.runtime.core.state import RunState, tool_uses
from playhead.runtime.core.tool_results import invalid_name

__all__ = ["ordered_results"]


def ordered_results(state: RunState) -> tuple[int, ...]:
    """The calls of the current batch that have a result, by their index in it.

    Those that had one when the run paused come first. The others are in the order of the calls, but a call whose name no tool
    can have comes before those that were begun: its result is known before.
    """
    calls = tool_uses(state.messages[-1]) if state.messages else []  # none in a fold without the session's history
    refused = state.cancelled or state.refused is not None  # then no name is looked at
    flawed = {index for index, call in enumerate(calls) if not refused and invalid_name(call["name"]) is not None}

    def place(index: int) -> tuple[bool, int]:
        return index not in flawed, index

    return (*state.kept, *sorted(state.results.keys() - {*state.kept}, key=place))
