"""The tool calls of a state that have no result yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.records import ENDED_STATES
from playhead.runtime.core.state import RunState, tool_uses

__all__ = ["OpenCall", "open_calls"]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A tool call of the current batch without a result.

    Attributes:
        index: Its position in the batch.
        tool_use: The call.
        state: `running` if its body has begun, `waiting` for a response, else `ready`.
    """

    index: int
    tool_use: ToolUse
    state: Literal["ready", "running", "waiting"]


def open_calls(state: RunState) -> list[OpenCall]:
    """The calls of the current batch without a result, in order. Empty if the message does not ask to run its calls."""
    if state.status in ENDED_STATES or state.phase not in ("cycle", "answered") or not state.messages:
        return []
    if state.phase == "answered" and state.stop_reason != "tool_use":
        return []
    return [
        OpenCall(index, call, _state_of(state, index))
        for index, call in enumerate(tool_uses(state.messages[-1]))
        if index not in state.results
    ]


def _state_of(state: RunState, index: int) -> Literal["ready", "running", "waiting"]:
    if state.is_waiting(index):
        return "waiting"
    return "running" if index in state.started else "ready"
