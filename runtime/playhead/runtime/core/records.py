"""The record types of a run's log: named in the past tense, versioned, plain data.

A record is one fact about one run. Its number (`seq`) and the epoch of its writer are not part of it: they are the id
of the stream entry, and an `Entry` holds them beside the record. Unknown types and unknown fields, written by a newer
version, are kept and skipped; they are not an error. Only a record's own fields are checked, not nested Converse data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SkipValidation

from playhead.runtime.core.converse import Chunk, Message, ToolResult, ToolUse

__all__ = [
    "ASKED_AGAIN",
    "CALL_FAILED",
    "ENDED_STATES",
    "RECORD_TYPES",
    "SUMMARY_FAILED",
    "TERMINAL_TYPES",
    "TERMINAL_TYPE_OF_STATE",
    "AgentMade",
    "CheckedRecord",
    "ContextReduced",
    "CycleStarted",
    "FAILED_ASKED_AGAIN",
    "Entry",
    "HookDecided",
    "MessageAdded",
    "ModelChunk",
    "ModelFailed",
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
    "StructuredOutputProduced",
    "ToolDecided",
    "ToolFinished",
    "ToolInterrupted",
    "ToolProgressed",
    "ToolStarted",
    "UnknownRecord",
    "now_ms",
]

RunStateName = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]

ENDED_STATES: Final = frozenset({"completed", "failed", "cancelled"})
"""The states of a run that no longer accepts anything."""


def now_ms() -> int:
    """The wall clock in unix milliseconds, for `at`. One decision depends on it: see `ModelFailed`."""
    return time.time_ns() // 1_000_000


class Record:
    """The base class of all records; `dict(record)` is what is stored.

    Attributes:
        v: The version of the record type's fields.
        type: The type's name, `noun.verb_in_past_tense`.
        at: When the writer made it, in unix milliseconds.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        v: int
        type: str
        at: int

        def __iter__(self) -> Iterator[tuple[str, Any]]: ...


class CheckedRecord(BaseModel, Record):
    """The base class of records whose fields are checked when they are made."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    v: int = 1
    type: str
    at: int


class RunSubmitted(CheckedRecord):
    """The run was submitted; always record 1. `prompt` is what the caller passed: text, content blocks, messages or None.

    `options` holds `history` (messages before the first session message; in-process agents put theirs here) and, in a
    fork, `fork`: `{"run": its parent, "at": how many of its records are the parent's, "session": the
    parent's session, "of": the parent's options}`, the last two if it has such. By the
    names of `overrides.OVERRIDES` they hold what the run has instead of its agent's own, and by those of
    `terms.TERM_OPTIONS` the `Terms` of the call. `invocation_state` holds the caller's serialisable keys, `metadata` what
    the run is found by (see `metadata`), and `trace` a W3C trace context.
    """

    type: str = "run.submitted"
    agent: str
    prompt: Any = None
    session: str | None = None
    invocation_state: dict[str, Any] = {}
    options: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    trace: dict[str, str] = {}


class RunClaimed(CheckedRecord):
    """A worker became the owner; the entry's epoch is the ordinal of the new ownership.

    `definition` is the digest of the agent's definition that this owner uses, see `StoredDefinition`; empty if a factory
    makes the agent, see `AgentMade`, and for an in-process run, whose log is not kept.
    """

    type: str = "run.claimed"
    worker: str
    definition: str = ""


class AgentMade(CheckedRecord):
    """The owner had its agent from a factory; written right after its claim, unless the log has the same already.

    `definition` has the fields of the agent's definition, without what the run has instead of the agent's own.
    `model_name` is the name by which the agent has its model; None if it has an object, or that of the environment.
    """

    type: str = "agent.made"
    definition: dict[str, Any]
    model_name: str | None = None


class RunHandedOver(CheckedRecord):
    """The owner gave the run back: it drained, or the run waits before its model is called again. This is not a crash.

    `delay`: the seconds, by the log's clock, before which no owner gets the run; the wait is over then.
    """

    type: str = "run.handed_over"
    worker: str
    delay: float = 0.0


class CycleStarted(CheckedRecord):
    """Cycle number `cycle` (1, 2, …) of the event loop began.

    `session_messages` is how many messages of its session the run began from, and `session_cut` how many older ones had
    been cut from the session before; both are the same in all its cycles. The session cannot grow or be cut while the run
    holds it, so every owner of the run finds the same numbers. They are not in `run.claimed`, because that record is
    encoded before the claim picks its run. `again`: it repeats the cycle before, whose history did not fit the context of
    the model. `resumes`: the run had come to its end, and a hook let it go on with another prompt, whose first cycle this is.
    """

    type: str = "cycle.started"
    cycle: int
    session_messages: int = 0
    session_cut: int = 0
    again: bool = False
    resumes: bool = False


class ModelStarted(CheckedRecord):
    """A model call began; the chunks that follow are its message until `message.added`.

    `continues`: it continues the text of the chunks before it, which belong to the call that broke off. `differs`
    has, by the names of `ModelRequest`, what was sent instead of what the definition and the history give. `delay`: the
    wait before it, in seconds, if it repeats a call that failed; None in logs of version 0.1. `summarizes`: the messages of
    the history that the model is to summarize, as `ContextReduced` counts them; its chunks are then not the run's answer.
    """

    type: str = "model.started"
    attempt: int = 1
    continues: bool = False
    differs: dict[str, Any] = {}
    delay: float | None = None
    summarizes: list[tuple[int, int]] = []


class ModelChunk(Record):
    """One raw chunk, as the provider yielded it. The most frequent record: see `codec` for its compact form.

    A plain class, because a pydantic model takes ten times as long to make and would check nothing here.
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


CALL_FAILED: Final = "the call failed"
"""The `reason` of a `model.retried` that a `model.failed` follows at once."""

SUMMARY_FAILED: Final = "the summary failed"
"""The `reason` of a `model.retried` for a summary before a call, which the run does without."""

ASKED_AGAIN: Final = "a hook did not take the message"
"""The `reason` of a `model.retried` that a hook caused after a whole message."""

FAILED_ASKED_AGAIN: Final = "the call failed, and a hook asked for another"
"""The `reason` of a `model.retried` that a hook caused after a failure; a `model.failed` follows at once."""


class ModelRetried(CheckedRecord):
    """A model call broke off and is made again; records `supersedes[0]` to `supersedes[1]` are withdrawn.

    `usage` has the tokens of a whole message that a hook did not take. They count for the run.
    """

    type: str = "model.retried"
    supersedes: tuple[int, int]
    reason: str = ""
    usage: dict[str, int] = {}


class ModelFailed(CheckedRecord):
    """A model call failed with a transient error, and is made again after a wait of `delay` seconds.

    It is written when the wait begins, directly after the `model.retried` that withdraws the call; after a crash in
    between, the call is made again at once. If the owner changes during the wait, the next one waits for the rest by
    `at` and its own clock, and never longer than `delay`: see `retry.rest_of_wait`. `attempt` is that of the call.

    `overflow`: it failed because the history does not fit the context of the model. There is no wait: `context.reduced`
    follows, or the run fails.
    """

    type: str = "model.failed"
    error_type: str
    message: str
    delay: float = 0.0
    attempt: int = 1
    overflow: bool = False


class ContextReduced(CheckedRecord):
    """The history was reduced; the messages that were left out stay in the log.

    Messages are counted from the end of the history, -1 for the last. `removed` and `pinned` are ranges of them, the first
    and the last of each: those left out, and those that no later reduction may leave out. `cut` is the message whose tool
    results were shortened, `summary` a message in place of those left out, before the last `kept` messages, and `usage`
    the tokens of the call that wrote it. `reason`: `overflow` (the model refused the history), `call` (before a model
    call) or `end` (of the run).
    """

    type: str = "context.reduced"
    reason: Literal["overflow", "call", "end"]
    removed: list[tuple[int, int]] = []
    pinned: list[tuple[int, int]] = []
    cut: int | None = None
    summary: Annotated[Message | None, SkipValidation] = None
    kept: int = 0
    usage: dict[str, int] = {}


class MessageAdded(CheckedRecord):
    """A message entered the history.

    `origin` says why: `prompt` (the caller's), `repair` (results for calls without one), `steer` (a user message to the
    running run), `structured_output` (asks for it), `stop` (with which a tool ends the run), `model`, `tools`. Only the
    last two have an event. `stop_reason` is set for `model`.
    """

    type: str = "message.added"
    message: Annotated[Message, SkipValidation]
    origin: Literal["prompt", "repair", "steer", "structured_output", "stop", "model", "tools"]
    stop_reason: str | None = None


class ToolDecided(CheckedRecord):
    """A hook decided about a tool call. The verdict is in force from here on, so the hook is not asked for it again.

    `tool_use` is what the model asked for. The verdict is `cancel`: the call gets an error result with the text
    `message`. Or `change`: the call runs as `change`, and by the tool named `tool` if that is not empty. Or `retry`: the
    call has run, its `result` is dropped, and it runs again. An interrupt of a hook is a `tool.interrupted`.
    """

    type: str = "tool.decided"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    verdict: str
    message: str = ""
    change: Annotated[ToolUse | None, SkipValidation] = None
    tool: str = ""
    result: Annotated[ToolResult | None, SkipValidation] = None


class ToolStarted(CheckedRecord):
    """A tool call is about to run: this record is stored before its body starts.

    `index` is the position of the call in its batch (tool use ids need not be unique); `effect_key` is a key that the
    tool may use as its idempotency key. If a hook changed the call, `tool_use` is the changed one.
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
    """A tool call has its result, which is never computed again. `duration_ms` is 0 for calls that never ran.

    `stop` is a `Stop` in its stored form, if the body asked that the run ends after this batch. `returned` is the result
    before a hook changed it; None if no hook did.
    """

    type: str = "tool.finished"
    index: int
    name: str
    result: Annotated[ToolResult, SkipValidation]
    duration_ms: int = 0
    stop: dict[str, Any] | None = None
    returned: Annotated[ToolResult | None, SkipValidation] = None


class ToolInterrupted(CheckedRecord):
    """A tool call stopped to ask a human; once all of `interrupts` have responses its body runs again from its top.

    It is written when the body has stopped, so after a crash before it the outcome of the call is unknown. Each of
    `interrupts` is `{"id", "name", "reason", "response": None}`.
    """

    type: str = "tool.interrupted"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    interrupts: list[dict[str, Any]]


class StructuredOutputProduced(CheckedRecord):
    """The run has the structured output that it was asked for: `value`, as the model gave it, of the schema called `name`.

    It is in the log before the message that has the results of its batch, or after the message whose text it is.
    """

    type: str = "structured_output.produced"
    name: str
    value: Any


class HookDecided(CheckedRecord):
    """A hook changed what the run does next; the verdict is in force from here on, so the hook is not asked again.

    `event` is the name of the hook's event, and `verdict` one of these, with its `value`:

    - `BeforeInvocationEvent`: `messages`, in place of those of the prompt; `cancel` with the last message of the run.
    - `BeforeModelCallEvent`: `cancel` with the message in place of the model's.
    - `BeforeToolsEvent`: `cancel` with the text of all results; `interrupt`, with the questions in `interrupts`.
    - `AfterToolsEvent`: `end_turn` with the last message, which enters the history after the results.
    - `AfterInvocationEvent`: `resume` with the prompt with which the run goes on in place of its end.
    """

    type: str = "hook.decided"
    event: str
    verdict: str
    value: Any = None
    interrupts: list[dict[str, Any]] = []


class RunPaused(CheckedRecord):
    """The run waits for responses and has no owner. `interrupts` are all open ones.

    `result` is an `AgentResult` as a dict with the stop reason `interrupt`. If an owner dies before this is stored, the
    next owner writes it. Not terminal.
    """

    type: str = "run.paused"
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class RunResumed(CheckedRecord):
    """Every interrupt has its response, and the run continues. The owner writes it before it runs the calls again."""

    type: str = "run.resumed"


class SignalReceived(CheckedRecord):
    """The owner took a signal from the inbox; it takes effect here, in the order of the log.

    `body` is None for `cancel`, `{interrupt id: response}` for `respond`, a prompt for `steer`.
    """

    type: str = "signal.received"
    signal_id: str
    kind: str
    body: Any = None


class RunCompleted(CheckedRecord):
    """Terminal: the run completed. `result` is an `AgentResult` as a dict."""

    type: str = "run.completed"
    result: dict[str, Any]


class RunFailed(CheckedRecord):
    """Terminal: the run failed. With `force_stop` readers emit Strands' `force_stop` event before it."""

    type: str = "run.failed"
    error_type: str
    message: str
    force_stop: bool = False


class RunCancelled(CheckedRecord):
    """Terminal: the run was cancelled, and its last message says so. `result` is an `AgentResult` as a dict."""

    type: str = "run.cancelled"
    result: dict[str, Any]


class UnknownRecord(CheckedRecord):
    """A record of a type that this version does not know; it is kept unchanged and ignored by the fold."""


RECORD_TYPES: Final[dict[str, type[CheckedRecord] | type[ModelChunk]]] = {
    ModelChunk.type: ModelChunk,
    **{
        str(cls.model_fields["type"].default): cls
        for cls in (
            RunSubmitted,
            RunClaimed,
            AgentMade,
            RunHandedOver,
            CycleStarted,
            ModelStarted,
            ModelRetried,
            ModelFailed,
            ContextReduced,
            MessageAdded,
            ToolDecided,
            ToolStarted,
            ToolProgressed,
            ToolFinished,
            ToolInterrupted,
            StructuredOutputProduced,
            HookDecided,
            RunPaused,
            RunResumed,
            SignalReceived,
            RunCompleted,
            RunFailed,
            RunCancelled,
        )
    },
}
TERMINAL_TYPE_OF_STATE: Final[Mapping[str, str]] = {
    "completed": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
}
TERMINAL_TYPES: Final = frozenset(TERMINAL_TYPE_OF_STATE.values())


class Entry(NamedTuple):
    """A record with its position: number `seq` of its run's log, written by the owner of `epoch`."""

    seq: int
    epoch: int
    record: Record

    @property
    def cursor(self) -> str:
        """The position of this record, to continue after it: its number and its writer's epoch, such as `41-2`."""
        return f"{self.seq}-{self.epoch}"
