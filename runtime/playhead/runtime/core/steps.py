"""What a run may do next, as values: what `decide` gives and the loop performs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from playhead.runtime.core.converse import Message, ToolUse

__all__ = [
    "AddMessage",
    "CallModel",
    "CancelTools",
    "Fail",
    "Finish",
    "Pause",
    "Resume",
    "RunTools",
    "SayCancelled",
    "StartCycle",
    "Step",
]


CANCELLED_TEXT: Final = "Cancelled by user"


TOOL_CANCELLED_TEXT: Final = "Tool execution cancelled"


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Put `message` into the history; `origin` as in `MessageAdded`."""

    message: Message
    origin: str


@dataclass(frozen=True, slots=True)
class StartCycle:
    """Begin cycle number `cycle`."""

    cycle: int


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model.

    After a call that stopped half-way either withdraw what it left, the records `supersedes[0]` to `[1]`, or let the
    model go on behind it: behind the text `behind`.
    """

    attempt: int
    supersedes: tuple[int, int] | None = None
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class SayCancelled:
    """Answer in the model's place that the run was cancelled."""

    text: str = CANCELLED_TEXT


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these calls (index in the batch, call). `started` were begun by a former owner and have no known outcome."""

    calls: tuple[tuple[int, ToolUse], ...]
    started: frozenset[int]


@dataclass(frozen=True, slots=True)
class CancelTools:
    """Give these calls an error result without running them."""

    calls: tuple[tuple[int, ToolUse], ...]
    text: str = TOOL_CANCELLED_TEXT


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for answers to `interrupts`, all that are open; `result` is the `AgentResult` as a dict."""

    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after a pause: everything asked is answered."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run well, or as cancelled; `result` is the `AgentResult` as a dict."""

    result: dict[str, Any]
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """End the run with an error of this class name and text."""

    error_type: str
    message: str


Step = AddMessage | StartCycle | CallModel | SayCancelled | RunTools | CancelTools | Pause | Resume | Finish | Fail
