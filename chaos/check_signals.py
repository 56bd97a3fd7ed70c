"""Checks signals: each counts once, in order; interrupts get their responses, and the model gets each steer. Pure."""

from __future__ import annotations

from typing import Any

from chaos.evidence import Evidence, Violation
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import (
    Entry,
    HookDecided,
    MessageAdded,
    RunCompleted,
    RunPaused,
    RunResumed,
    SignalReceived,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.state import ALL_CALLS

__all__ = ["check_signals"]


def check_signals(evidence: Evidence) -> list[Violation]:
    """Check that acknowledged signals are in the log, once, and took effect."""
    return [*_taken_in(evidence), *_Questions(evidence).flaws, *_steered(evidence)]


def _taken_in(evidence: Evidence) -> list[Violation]:
    found: list[Violation] = []
    taken: list[str] = []
    for entry in evidence.entries:
        if isinstance(entry.record, SignalReceived):
            signal, kind = entry.record.signal_id, entry.record.kind
            if signal in taken:
                found.append(Violation("signal", evidence.plan.run, entry.seq, f"{kind} {signal} counts twice"))
            elif evidence.signals.get(signal) != kind:
                found.append(Violation("signal", evidence.plan.run, entry.seq, f"{kind} {signal} was never sent"))
            taken.append(signal)
    order = [signal for signal in evidence.acknowledged if signal in taken]
    if order != [signal for signal in taken if signal in evidence.acknowledged]:
        found.append(
            Violation("signal", evidence.plan.run, None, "the signals are not in the order in which they were sent")
        )
    if evidence.entries and isinstance(evidence.entries[-1].record, RunCompleted):
        lost = [signal for signal in evidence.acknowledged if signal not in taken]
        what = "was acknowledged while the run had not ended, and is not in its log"
        found += [Violation("signal", evidence.plan.run, None, f"{evidence.signals[one]} {one} {what}") for one in lost]
    return found


class _Questions:
    """The interrupts, their responses, and whether the run waited for them."""

    def __init__(self, evidence: Evidence) -> None:
        self.flaws: list[Violation] = []
        self._run = evidence.plan.run
        self._open: dict[str, int] = {}  # interrupt → index of the call that asks
        for entry in evidence.entries:
            self._take(entry)
        if self._open and evidence.entries and isinstance(evidence.entries[-1].record, RunCompleted):
            self._flaw(evidence.entries[-1], f"completed with {sorted(self._open)} open")

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, ToolInterrupted):
            self._open |= {one["id"]: record.index for one in record.interrupts}
        elif isinstance(record, HookDecided):
            self._open |= {one["id"]: ALL_CALLS for one in record.interrupts}
        elif isinstance(record, SignalReceived) and record.kind == "respond":
            for name in record.body or {}:
                if self._open.pop(name, None) is None:
                    self._flaw(entry, f"responds to {name}, which is not open")
        elif isinstance(record, RunPaused):
            if sorted(one["id"] for one in record.interrupts) != sorted(self._open) or not self._open:
                self._flaw(entry, f"the run waits for {record.interrupts}, but open are {sorted(self._open)}")
        elif isinstance(record, RunResumed) and self._open:
            self._flaw(entry, f"the run resumes with {sorted(self._open)} open")
        elif isinstance(record, ToolStarted) and {record.index, ALL_CALLS} & set(self._open.values()):
            self._flaw(entry, f"call {record.index} is started again with its interrupt open")

    def _flaw(self, entry: Entry, what: str) -> None:
        self.flaws.append(Violation("signal", self._run, entry.seq, what))


def _steered(evidence: Evidence) -> list[Violation]:
    """Check that the steers' messages are in the run's history, each once and in order, before it completes."""
    found: list[Violation] = []
    said: list[Any] = []
    for entry in evidence.entries:
        record = entry.record
        if isinstance(record, SignalReceived) and record.kind == "steer":
            said += [message["content"] for message in prompt_messages(record.body) or () if "content" in message]
        elif isinstance(record, MessageAdded) and record.origin == "steer":
            wanted = said.pop(0) if said else None
            if record.message.get("content") != wanted:
                what = f"the model gets {record.message.get('content')}, the steer was {wanted}"
                found.append(Violation("signal", evidence.plan.run, entry.seq, what))
    if said and isinstance(evidence.entries[-1].record, RunCompleted):
        what = f"completed without passing {said} to its model"
        found.append(Violation("signal", evidence.plan.run, evidence.entries[-1].seq, what))
    return found
