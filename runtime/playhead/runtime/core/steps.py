"""The next step of a run as a value: `decide` returns it and the loop performs it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from playhead.runtime.core.context import Reduction, Summarizing
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.records import ModelFailed

__all__ = [
    "AddAnswer",
    "AddMessage",
    "CallModel",
    "CancelTools",
    "Fail",
    "Finish",
    "Pause",
    "ProduceOutput",
    "ReadOutput",
    "Reduce",
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
class AddAnswer:
    """Put the model's message into the history whose chunks a former owner stored, all of them."""

    message: Message
    stop_reason: str


@dataclass(frozen=True, slots=True)
class StartCycle:
    """Begin cycle number `cycle`; `again` if it repeats the one before, whose history was too long.

    `resumes` as in `CycleStarted`.
    """

    cycle: int
    again: bool = False
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model.

    After a call that broke off, either withdraw its records, `supersedes[0]` to `[1]`, or let the model continue after
    its text, `partial`. After a transient failure, `failed`, first wait for the rest of its delay, unless that is over (`rested`). With `summarizes`
    the model writes the summary of a reduction instead of an answer.
    """

    attempt: int
    supersedes: tuple[int, int] | None = None
    partial: str | None = None
    failed: ModelFailed | None = None
    rested: bool = False
    summarizes: Summarizing | None = None


@dataclass(frozen=True, slots=True)
class Reduce:
    """Reduce the history; `reason` as in `ContextReduced`, `usage` the tokens of its summary."""

    reduction: Reduction
    reason: str
    usage: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class SayCancelled:
    """Add a message, in place of the model's, that says that the run was cancelled."""

    text: str = CANCELLED_TEXT


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these calls (index in the batch, call). Those in `started` were begun by a former owner; their outcome is unknown."""

    calls: tuple[tuple[int, ToolUse], ...]
    started: frozenset[int]


@dataclass(frozen=True, slots=True)
class CancelTools:
    """Give these calls an error result without running them."""

    calls: tuple[tuple[int, ToolUse], ...]
    text: str = TOOL_CANCELLED_TEXT


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for responses to `interrupts`, all open ones; `result` is the `AgentResult` as a dict."""

    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resume:
    """Resume after a pause, because every question has its response."""


@dataclass(frozen=True, slots=True)
class ProduceOutput:
    """Store the structured output, which a call of its tool gave."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class ReadOutput:
    """Read the structured output from the text of `message`, or fail."""

    message: Message


@dataclass(frozen=True, slots=True)
class Finish:
    """End the run as completed, or as cancelled; `result` is the `AgentResult` as a dict."""

    result: dict[str, Any]
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """End the run with an error that has this class name and message."""

    error_type: str
    message: str


Step = (
    AddAnswer
    | AddMessage
    | StartCycle
    | CallModel
    | Reduce
    | SayCancelled
    | RunTools
    | CancelTools
    | Pause
    | Resume
    | ProduceOutput
    | ReadOutput
    | Finish
    | Fail
)
