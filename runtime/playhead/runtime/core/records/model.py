"""Records about model calls and about what the model is told: its cycles, chunks, failures and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import SkipValidation

from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.records.base import CheckedRecord, Record

__all__ = [
    "ASKED_AGAIN",
    "CALL_FAILED",
    "ContextReduced",
    "CycleStarted",
    "FAILED_ASKED_AGAIN",
    "MessageAdded",
    "ModelChunk",
    "ModelFailed",
    "ModelRetried",
    "ModelStarted",
    "SUMMARY_FAILED",
    "StructuredOutputProduced",
]


class CycleStarted(CheckedRecord):
    """Cycle number `cycle` (1, 2, …) of the event loop began.

    `session_messages` is how many messages of its session the run began from, and `session_cut` how many older ones had
    been cut from the session before; both are the same in all its cycles. The session cannot grow or be cut while the run
    holds it, so every owner of the run finds the same numbers. They are not in `run.claimed`, because that record is
    encoded before the claim picks its run. `again`: it repeats the cycle before, whose history did not fit the context of
    the model. `resumes`: the run had come to its end, and a hook let it go on with another prompt, whose first cycle this is;
    `invocation_state` is then as in `RunResumed`.
    """

    type: str = "cycle.started"
    cycle: int
    session_messages: int = 0
    session_cut: int = 0
    again: bool = False
    resumes: bool = False
    invocation_state: dict[str, Any] | None = None


class ModelStarted(CheckedRecord):
    """A model call began; the chunks that follow are its message until `message.added`.

    `continues`: it continues the text of the chunks before it, which belong to the call that broke off. `differs`
    has, by the names of `ModelRequest`, what was sent instead of what the definition and the history give. `delay`: the
    wait before it, in seconds, if it repeats a call that failed; None in logs of version 0.1. `summarizes`: the messages of
    the history that the model is to summarize, as `ContextReduced` counts them; its chunks are then not the run's answer.
    `lane` names the call of a hosted guest, whose `step.finished` has the same key; empty otherwise. `request` has a digest
    of each part of what such a call asks, and `told` the values, by digest, that no record before it has: of the parts that
    last from call to call, see `host.asked`. `invocation_state` is as in `RunResumed`.
    """

    type: str = "model.started"
    attempt: int = 1
    continues: bool = False
    differs: dict[str, Any] = {}
    delay: float | None = None
    summarizes: list[tuple[int, int]] = []
    lane: str = ""
    request: str = ""
    told: Annotated[dict[str, Any], SkipValidation] = {}
    invocation_state: dict[str, Any] | None = None


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


class StructuredOutputProduced(CheckedRecord):
    """The run has the structured output that it was asked for: `value`, as the model gave it, of the schema called `name`.

    It is in the log before the message that has the results of its batch, or after the message whose text it is.
    """

    type: str = "structured_output.produced"
    name: str
    value: Any
