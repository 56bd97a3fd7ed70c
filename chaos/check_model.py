"""Checks the model's calls in a log: each has one message, or is retracted exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.evidence import Evidence, Violation
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import (
    CALL_FAILED,
    ContextReduced,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
)

__all__ = ["ModelCall", "check_model", "model_calls", "text_of"]


@dataclass(slots=True)
class ModelCall:
    """One call as the log shows it.

    Attributes:
        chunks: The chunks with text, as (seq, text).
        continued: How often another owner's model continued after the text streamed before.
        retracted: The `seq` of the `model.retried` that retracted it.
        message: The entry of its message.
    """

    start: Entry
    continued: int = 0
    chunks: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    retracted: int | None = None
    message: Entry | None = None

    @property
    def text(self) -> str:
        """All text of the call."""
        return "".join(text for _, text in self.chunks)


def text_of(chunk: dict[str, object]) -> str:
    """The text in a chunk, empty if it has none."""
    delta = chunk.get("contentBlockDelta")
    inner = delta.get("delta") if isinstance(delta, dict) else None
    return str(inner.get("text", "")) if isinstance(inner, dict) else ""


def model_calls(entries: Sequence[Entry]) -> list[ModelCall]:
    """The calls, in order."""
    calls: list[ModelCall] = []
    for entry in entries:
        record = entry.record
        if isinstance(record, ModelStarted) and not (
            record.continues and calls
        ):  # a summary is a call without a message
            calls.append(ModelCall(entry))
        elif not calls:
            continue
        elif isinstance(record, ModelStarted):
            calls[-1].continued += 1
        elif isinstance(record, ModelChunk) and (text := text_of(record.chunk)):
            calls[-1].chunks.append((entry.seq, text))
        elif isinstance(record, ModelRetried):
            calls[-1].retracted = entry.seq
        elif isinstance(record, MessageAdded) and record.origin == "model" and record.stop_reason != "cancelled":
            calls[-1].message = entry
    return calls


def check_model(evidence: Evidence) -> list[Violation]:
    """Check that no message is paid for twice, and that a call that broke off is continued or retracted exactly."""
    run, found = evidence.plan.run, list[Violation]()
    call: Entry | None = None  # the one without its message yet
    speaker = 0  # the owner whose model streams
    answered = False  # in this cycle
    spoken = 0  # the last chunk
    for entry in evidence.entries:
        record = entry.record
        if isinstance(record, CycleStarted):
            answered = False
        elif isinstance(record, ModelStarted):
            if answered:
                found.append(
                    Violation("paid_again", run, entry.seq, "a call whose message is in the log is made again")
                )
            if (call is not None) != record.continues:
                what = (
                    "continues, but no call is open"
                    if call is None
                    else f"call {call.seq} was cut off and not retracted"
                )
                found.append(Violation("retraction", run, entry.seq, what))
            if not record.continues:
                call, spoken = entry, entry.seq
            speaker = entry.epoch
        elif isinstance(record, ModelRetried):
            if what := _retraction_flaw(record, call, spoken=spoken, seq=entry.seq):
                found.append(Violation("retraction", run, entry.seq, what))
            elif call is not None and _is_whole(evidence.entries[call.seq : entry.seq], record):
                found.append(Violation("paid_again", run, entry.seq, "an answer that is whole is withdrawn"))
            call = None
        elif isinstance(record, ModelChunk):
            if call is None or speaker != entry.epoch:
                found.append(Violation("retraction", run, entry.seq, "a chunk without a call that its owner started"))
            spoken = entry.seq
        elif isinstance(record, ContextReduced) and record.reason == "overflow":
            call = None  # that of the summary
        elif isinstance(record, MessageAdded) and record.origin == "model":
            call, answered = None, True
    return found


def _is_whole(entries: Sequence[Entry], retried: ModelRetried) -> bool:
    """Whether the chunks of a call that broke off are its whole answer; a call that failed may have sent all of them."""
    chunks = [entry.record.chunk for entry in entries if isinstance(entry.record, ModelChunk)]
    return retried.reason != CALL_FAILED and whole_answer(chunks) is not None


def _retraction_flaw(record: ModelRetried, call: Entry | None, *, spoken: int, seq: int) -> str | None:
    if call is None:
        return "retracts a call, but none is open"
    first, last = record.supersedes
    if first != call.seq:
        return f"retracts from {first} on, but the call that was cut off starts at {call.seq}"
    if last < spoken:
        return f"retracts up to {last}, but the call that was cut off streamed until {spoken}"
    return f"retracts up to {last}, which was not written yet" if last >= seq else None
