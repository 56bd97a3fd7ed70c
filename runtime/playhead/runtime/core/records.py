"""The record types: what may stand in a run's log. Past tense, versioned, plain data.

A record is one fact about one run. Its number (`seq`) and the epoch of its writer are not in it: they are the stream
entry's id, and travel beside it in an `Entry`. Unknown types and unknown fields, written by a newer version, are
carried and skipped, never an error. Nested Converse data is taken as it is: only a record's own fields are checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SkipValidation

from playhead.runtime.core.converse import Chunk, Message, ToolResult, ToolUse

__all__ = [
    "ENDED_STATES",
    "RECORD_TYPES",
    "TERMINAL_TYPES",
    "CheckedRecord",
    "CycleStarted",
    "Entry",
    "MessageAdded",
    "ModelChunk",
    "ModelRetried",
    "ModelStarted",
    "Record",
    "RunCancelled",
    "RunClaimed",
    "RunCompleted",
    "RunFailed",
    "RunHandedOver",
    "RunPaused",
    "RunResumed",
    "RunStateName",
    "RunSubmitted",
    "SignalReceived",
    "ToolFinished",
    "ToolInterrupted",
    "ToolProgressed",
    "ToolStarted",
    "UnknownRecord",
    "failure",
    "now_ms",
]

RunStateName = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]

ENDED_STATES: Final = frozenset({"completed", "failed", "cancelled"})
"""The states of a run that takes nothing in any more."""


_MAX_ERROR_CHARS: Final = 10_000


def now_ms() -> int:
    """The wall clock in unix milliseconds, for `at` only; no decision is ever taken by it."""
    return time.time_ns() // 1_000_000


class Record:
    """Base of all records; `dict(record)` is what is stored of one.

    Attributes:
        v: Version of the record type's fields.
        type: The type's name, `noun.verb_in_past_tense`.
        at: When the writer made it, unix milliseconds.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        v: int
        type: str
        at: int

        def __iter__(self) -> Iterator[tuple[str, Any]]: ...


class CheckedRecord(BaseModel, Record):
    """Base of the records whose fields are checked when they are made."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    v: int = 1
    type: str
    at: int


class RunSubmitted(CheckedRecord):
    """Always record 1. `prompt` is what the caller passed: text, content blocks, messages or None.

    `options` holds `history` (messages before the first session message; in-process agents put theirs here) and what
    later versions add; `invocation_state` the caller's serialisable keys, `trace` a W3C trace context.
    """

    type: str = "run.submitted"
    agent: str
    prompt: Any = None
    session: str | None = None
    invocation_state: dict[str, Any] = {}
    options: dict[str, Any] = {}
    trace: dict[str, str] = {}


class RunClaimed(CheckedRecord):
    """A worker became the owner; the entry's epoch is the new ownership's ordinal."""

    type: str = "run.claimed"
    worker: str
    fingerprint: str = ""


class RunHandedOver(CheckedRecord):
    """The owner gave the run back, on drain; not a crash."""

    type: str = "run.handed_over"
    worker: str


class CycleStarted(CheckedRecord):
    """Cycle number `cycle` (1, 2, …) of the event loop began."""

    type: str = "cycle.started"
    cycle: int


class ModelStarted(CheckedRecord):
    """A model call began; the chunks that follow are its answer until `message.added`.

    `continues`: it goes on behind the text that the chunks before it hold, those of the call that died half-way.
    """

    type: str = "model.started"
    attempt: int = 1
    continues: bool = False


class ModelChunk(Record):
    """One raw chunk, as the provider yielded it. The frequent record: see `codec` for its compact form.

    A plain class, because a pydantic model takes ten times as long to make and would check nothing in it.
    """

    __slots__ = ("at", "chunk")

    v = 1
    type = "model.chunk"

    def __init__(self, *, at: int, chunk: Chunk) -> None:
        self.at: int = at
        self.chunk: Chunk = chunk

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        yield from (("v", self.v), ("type", self.type), ("at", self.at), ("chunk", self.chunk))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelChunk) and self.at == other.at and self.chunk == other.chunk

    __hash__: ClassVar[None] = None  # pyright: ignore[reportIncompatibleMethodOverride] - a chunk is a dict

    def __repr__(self) -> str:
        return f"ModelChunk(at={self.at}, chunk={self.chunk!r})"


class ModelRetried(CheckedRecord):
    """A model call died half-way and will be made again; records `supersedes[0]` to `supersedes[1]` are withdrawn."""

    type: str = "model.retried"
    supersedes: tuple[int, int]
    reason: str = ""


class MessageAdded(CheckedRecord):
    """A message entered the history.

    `origin` says why: `prompt` (the caller's), `repair` (results for calls nobody answered), `steer` (said to the
    running run), `model`, `tools`. Only the last two have an event. `stop_reason` is set for `model`.
    """

    type: str = "message.added"
    message: Annotated[Message, SkipValidation]
    origin: Literal["prompt", "repair", "steer", "model", "tools"]
    stop_reason: str | None = None


class ToolStarted(CheckedRecord):
    """A tool call is about to run: this record is stored before its body starts.

    `index` is the call's place in its batch (tool use ids need not be unique); `effect_key` is what the tool may use
    as idempotency key.
    """

    type: str = "tool.started"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    effect_key: str


class ToolProgressed(CheckedRecord):
    """A tool yielded a value while running."""

    type: str = "tool.progressed"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    data: Any = None


class ToolFinished(CheckedRecord):
    """A tool call has its result; it is never computed again. `duration_ms` is 0 for calls that never ran."""

    type: str = "tool.finished"
    index: int
    name: str
    result: Annotated[ToolResult, SkipValidation]
    duration_ms: int = 0


class ToolInterrupted(CheckedRecord):
    """A tool call stopped to ask a human; once all of `interrupts` are answered its body is run again from its top.

    Written when the body has stopped, so a crash before it means that the call's outcome is unknown. Each of
    `interrupts` is `{"id", "name", "reason", "response": None}`.
    """

    type: str = "tool.interrupted"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    interrupts: list[dict[str, Any]]


class RunPaused(CheckedRecord):
    """The run waits for answers and has no owner. `interrupts` are all that are open.

    `result` is an `AgentResult` as a dict, its stop reason `interrupt`. An owner that dies before this is stored only
    leaves it to its successor. Not terminal.
    """

    type: str = "run.paused"
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class RunResumed(CheckedRecord):
    """Every open interrupt is answered: the run goes on. Written by the owner before it runs the calls again."""

    type: str = "run.resumed"


class SignalReceived(CheckedRecord):
    """The owner took a signal in; from here on it is in force, in the log's order.

    `body` is None for `cancel`, `{interrupt id: answer}` for `respond`, a prompt for `steer`.
    """

    type: str = "signal.received"
    signal_id: str
    kind: str
    body: Any = None


class RunCompleted(CheckedRecord):
    """Terminal: the run ended by itself. `result` is an `AgentResult` as a dict."""

    type: str = "run.completed"
    result: dict[str, Any]


class RunFailed(CheckedRecord):
    """Terminal: the run ended by an error. `force_stop` asks readers for Strands' `force_stop` event before it."""

    type: str = "run.failed"
    error_type: str
    message: str
    force_stop: bool = False


def failure(error: BaseException) -> RunFailed:
    """The record of an exception that ends a run; always one that can be stored."""
    try:
        text = str(error)[:_MAX_ERROR_CHARS]
    except Exception:  # a broken __str__ must not keep the run from its end
        text = "(its text cannot be shown)"
    return RunFailed(at=now_ms(), error_type=type(error).__name__, message=text, force_stop=True)


class RunCancelled(CheckedRecord):
    """Terminal: the run was cancelled and has said so. `result` is an `AgentResult` as a dict."""

    type: str = "run.cancelled"
    result: dict[str, Any]


class UnknownRecord(CheckedRecord):
    """A record of a type this version does not know; kept whole, folded as nothing."""


RECORD_TYPES: Final[dict[str, type[CheckedRecord] | type[ModelChunk]]] = {
    ModelChunk.type: ModelChunk,
    **{
        str(cls.model_fields["type"].default): cls
        for cls in (
            RunSubmitted,
            RunClaimed,
            RunHandedOver,
            CycleStarted,
            ModelStarted,
            ModelRetried,
            MessageAdded,
            ToolStarted,
            ToolProgressed,
            ToolFinished,
            ToolInterrupted,
            RunPaused,
            RunResumed,
            SignalReceived,
            RunCompleted,
            RunFailed,
            RunCancelled,
        )
    },
}
TERMINAL_TYPES: Final = frozenset({"run.completed", "run.failed", "run.cancelled"})


class Entry(NamedTuple):
    """A record in its place: number `seq` of its run's log, written by the owner of `epoch`."""

    seq: int
    epoch: int
    record: Record

    @property
    def cursor(self) -> str:
        """This place, to go on behind it: the record's number and its writer's epoch, such as `41-2`."""
        return f"{self.seq}-{self.epoch}"
