"""The model's calls in a log: each answered once, or withdrawn exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.evidence import Evidence, Violation
from playhead.runtime.core.records import CycleStarted, Entry, MessageAdded, ModelChunk, ModelRetried, ModelStarted

__all__ = ["ModelCall", "check_model", "model_calls", "text_of"]


@dataclass(slots=True)
class ModelCall:
    """One call as the log shows it.

    Attributes:
        chunks: The chunks with text, as (seq, text).
        gone_on: How often another owner's model went on behind what was said.
        withdrawn: The `seq` of the `model.retried` that took it back.
        answer: The entry of its message.
    """

    start: Entry
    gone_on: int = 0
    chunks: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    withdrawn: int | None = None
    answer: Entry | None = None

    @property
    def text(self) -> str:
        """All it said."""
        return "".join(text for _, text in self.chunks)


def text_of(chunk: dict[str, object]) -> str:
    """The text in a chunk, empty where it has none."""
    delta = chunk.get("contentBlockDelta")
    inner = delta.get("delta") if isinstance(delta, dict) else None
    return str(inner.get("text", "")) if isinstance(inner, dict) else ""


def model_calls(entries: Sequence[Entry]) -> list[ModelCall]:
    """The calls, in order."""
    calls: list[ModelCall] = []
    for entry in entries:
        record = entry.record
        if isinstance(record, ModelStarted) and not (record.continues and calls):
            calls.append(ModelCall(entry))
        elif not calls:
            continue
        elif isinstance(record, ModelStarted):
            calls[-1].gone_on += 1
        elif isinstance(record, ModelChunk) and (text := text_of(record.chunk)):
            calls[-1].chunks.append((entry.seq, text))
        elif isinstance(record, ModelRetried):
            calls[-1].withdrawn = entry.seq
        elif isinstance(record, MessageAdded) and record.origin == "model" and record.stop_reason != "cancelled":
            calls[-1].answer = entry
    return calls


def check_model(evidence: Evidence) -> list[Violation]:
    """No answer is paid for twice; what died half-way is gone on with or withdrawn, all of it and nothing else."""
    run, found = evidence.plan.run, list[Violation]()
    call: Entry | None = None  # the one whose answer is awaited
    speaker = 0  # the owner whose model speaks
    answered = False  # in this cycle
    spoken = 0  # the last chunk
    for entry in evidence.entries:
        record = entry.record
        if isinstance(record, CycleStarted):
            answered = False
        elif isinstance(record, ModelStarted):
            if answered:
                found.append(Violation("paid_again", run, entry.seq, "a call whose answer is in the log is made again"))
            if (call is not None) != record.continues:
                what = "goes on with no call" if call is None else f"call {call.seq} died and was not withdrawn"
                found.append(Violation("retraction", run, entry.seq, what))
            if not record.continues:
                call, spoken = entry, entry.seq
            speaker = entry.epoch
        elif isinstance(record, ModelRetried):
            if what := _withdrawal_flaw(record, call, spoken=spoken, seq=entry.seq):
                found.append(Violation("retraction", run, entry.seq, what))
            call = None
        elif isinstance(record, ModelChunk):
            if call is None or speaker != entry.epoch:
                found.append(Violation("retraction", run, entry.seq, "a chunk of no call that its owner began"))
            spoken = entry.seq
        elif isinstance(record, MessageAdded) and record.origin == "model":
            call, answered = None, True
    return found


def _withdrawal_flaw(record: ModelRetried, call: Entry | None, *, spoken: int, seq: int) -> str | None:
    if call is None:
        return "withdraws a call, but none is open"
    first, last = record.supersedes
    if first != call.seq:
        return f"withdraws from {first} on, but the call that died began at {call.seq}"
    if last < spoken:
        return f"withdraws up to {last}, but the call that died spoke until {spoken}"
    return f"withdraws up to {last}, which nobody had written yet" if last >= seq else None
