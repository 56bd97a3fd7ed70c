"""What a log says that a guest did, split so that the guest can do it again in its own order. Pure.

A guest is run again from its top. Its events must come as they are in the log, lane by lane; its steps, model calls and
tool calls ask for what they gave by their keys, in any order.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    EventEmitted,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunHandedOver,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)

__all__ = ["Beside", "Course", "RecordedAnswer", "RecordedCall", "RecordedTool"]

Beside = Callable[[Any], bool]
"""Whether a record of a lane is one of those that come in any order, because what tells them works side by side."""

_OWNERS: Final = (RunSubmitted, RunClaimed, RunHandedOver, RunPaused, ModelRetried)
_OF_A_CALL: Final = (ModelStarted, ModelChunk, EventEmitted, MessageAdded)
"""The records that are withdrawn with a model call."""


@dataclass(slots=True)
class RecordedCall:
    """A model call of the log: its start, its chunks, and its end if it has ended."""

    started: Entry
    chunks: list[Entry] = field(default_factory=list[Entry])
    ended: Entry | None = None

    @property
    def whole(self) -> bool:
        """Whether all its chunks are there: it has ended, or the one is there that comes after the end of an answer."""
        if self.ended is not None:
            return True
        chunks = (cast("ModelChunk", one.record).chunk for one in self.chunks)
        return any("messageStop" in chunk for chunk in chunks) and any("metadata" in chunk for chunk in chunks)


class RecordedTool(NamedTuple):
    """A tool call of the log.

    Attributes:
        begins: Its first `tool.started`, if it has one.
        starts: How often its body was begun.
        asked: How often it stopped to ask something.
        begun: Whether its body was begun after it last asked, or at all.
        finished: Its `tool.finished`, if it has one.
        progress: What it yielded.
        interrupted: The `tool.interrupted` of when it last stopped to ask, if it did.
    """

    begins: Entry | None = None
    starts: int = 0
    asked: int = 0
    begun: bool = False
    finished: Entry | None = None
    progress: Sequence[Entry] = ()
    interrupted: Entry | None = None

    @property
    def interrupts(self) -> Sequence[dict[str, Any]]:
        """What it asked when it last stopped."""
        return () if self.interrupted is None else cast("ToolInterrupted", self.interrupted.record).interrupts

    @property
    def asks_itself(self) -> bool:
        """Whether its body last stopped to ask something, and was not begun since; not whether its outcome is asked about."""
        return any(one["name"] != UNKNOWN_OUTCOME for one in self.interrupts) and not self.begun


class RecordedAnswer(NamedTuple):
    """The response to a question, the number of the record that has it, and the caller's values from there on, if others."""

    seq: int
    response: Any
    invocation_state: dict[str, Any] | None


class Course:
    """The records of a run that its guest has not come to again. Each is taken once.

    Attributes:
        told: By digest, what the log has of the requests of its model calls.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.told: dict[str, Any] = {}
        self._lanes: dict[str, deque[Entry]] = {}
        self._steps: dict[str, Entry] = {}
        self._calls: dict[str, RecordedCall] = {}
        self._tools: dict[str, list[Entry]] = {}
        self._answers: dict[str, deque[RecordedAnswer]] = {}
        self._signals: deque[Entry] = deque()
        self._questions: Counter[str] = Counter()
        self._open: RecordedCall | None = None
        self._taken: list[Entry] = []  # the events after the start of a call that broke off
        entries = list(entries)
        withdrawn = [one.record.supersedes for one in entries if isinstance(one.record, ModelRetried)]
        for entry in entries:
            record = entry.record
            if isinstance(record, ModelStarted | StepFinished):
                self.told |= record.told
            if isinstance(record, _OWNERS) or record.type in TERMINAL_TYPES:
                continue
            if isinstance(record, _OF_A_CALL) and any(first <= entry.seq <= last for first, last in withdrawn):
                continue
            self._add(entry, record)
        self._broken = {key: call.started.seq for key, call in self._calls.items() if not call.whole}
        self._broken_from: float = min(self._broken.values(), default=math.inf)

    def _add(self, entry: Entry, record: Record) -> None:
        match record:
            case ModelStarted(lane=key) if key:
                self._open = self._calls[key] = RecordedCall(entry)
            case ModelChunk() if self._open is not None:
                self._open.chunks.append(entry)
            case StepFinished(key=key):
                if key in self._calls:
                    self._calls[key].ended = entry
                else:
                    self._steps[key] = entry
            case ToolStarted() | ToolProgressed() | ToolFinished() | ToolInterrupted():
                self._tools.setdefault(record.lane, []).append(entry)
                self._questions[record.lane] += isinstance(record, ToolInterrupted)
            case SignalReceived(kind="respond", body=body, invocation_state=state):
                for question, response in cast("dict[str, Any]", body or {}).items():
                    if response is not None:
                        self._answers.setdefault(question, deque()).append(RecordedAnswer(entry.seq, response, state))
            case SignalReceived():
                self._signals.append(entry)
            case _:
                self._lanes.setdefault(getattr(record, "lane", ""), deque()).append(entry)

    @property
    def goes_on(self) -> bool:
        """Whether the guest is still to come to an event or an answer of the log."""
        return bool(self._calls or any(self._lanes.values()))

    def begins_with(self, kind: type[Record]) -> bool:
        """Whether what the guest is to come to begins with a record of this type in its own lane; so does what has not begun."""
        own = self._lanes.get("")
        return isinstance(own[0].record, kind) if own else not self.goes_on

    @property
    def signalled(self) -> bool:
        """Whether a signal is still to come."""
        return bool(self._signals)

    def signals_before(self, seq: int) -> bool:
        """Whether a signal before this record is still to come."""
        return bool(self._signals) and self._signals[0].seq < seq

    @property
    def left(self) -> bool:
        """Whether anything of the log is still to come."""
        return bool(self._steps or self._calls or self._tools or self._signals or any(self._lanes.values()))

    def next_event(
        self, lane: str = "", *, same: Callable[[Any], bool] | None = None, beside: Beside | None = None
    ) -> Entry | None:
        """Take the next record of a lane; of those next that come in any order, the first that is the same, if one is."""
        entries = self._lanes.get(lane)
        if entries and same is not None and beside is not None:
            for number, entry in enumerate(entries):
                if not beside(entry.record):
                    break
                if same(entry.record):
                    del entries[number]
                    return self._took(entry)
        return self._took(entries.popleft()) if entries else None

    def _took(self, entry: Entry) -> Entry:
        if entry.seq > self._broken_from:
            self._taken.append(entry)
        return entry

    def retold(self, logged: Entry, same: Callable[[Any], bool]) -> Entry | None:
        """Take the record in which a later owner told otherwise what this one told, and drop what is between; None if none did."""
        entries = self._lanes.get(getattr(logged.record, "lane", "")) or deque[Entry]()
        kind = type(logged.record)
        for number, entry in enumerate(entries):
            if entry.epoch > logged.epoch and type(entry.record) is kind and same(entry.record):
                for _ in range(number):
                    entries.popleft()
                return self._took(entries.popleft())
        return None

    def drop_events(self, lane: str) -> None:
        """Forget what is still to come of a lane."""
        self._lanes.pop(lane, None)

    def step(self, key: str) -> Entry | None:
        """Take the value of a step."""
        return self._steps.pop(key, None)

    def call(self, key: str) -> RecordedCall | None:
        """Take a model call."""
        self._broken.pop(key, None)
        return self._calls.pop(key, None)

    @property
    def has_broken_call(self) -> bool:
        """Whether a model call that broke off is still to come: its chunks are not withdrawn yet."""
        return bool(self._broken)

    def request(self, key: str) -> str | None:
        """What a model call asked that the guest has not come to again, as `Asked.text`; None if there is none."""
        if key in self._steps:
            return cast("StepFinished", self._steps[key].record).request
        return cast("ModelStarted", self._calls[key].started.record).request if key in self._calls else None

    def has_tool(self, lane: str) -> bool:
        """Whether there is a tool call in this lane that the guest has not come to again."""
        return lane in self._tools

    def tool_use(self, lane: str) -> ToolUse | None:
        """With what it was called; None if it was cut off before it began."""
        return next((one.record.tool_use for one in self._tools[lane] if isinstance(one.record, ToolStarted)), None)

    def tool(self, lane: str) -> RecordedTool:
        """Take a tool call: with its last result, and what was recorded of it besides."""
        return _tool(self._tools.pop(lane, []))

    def visit(self, lane: str) -> RecordedTool:
        """Take a tool call up to the next place where it stopped to ask, or ended; a framework calls it again after that.

        A question that was asked before its body began, by a hook, is not part of it.
        """
        entries = deque(self._tools.pop(lane, []))
        while entries and isinstance(entries[0].record, ToolInterrupted):
            entries.popleft()
        taken: list[Entry] = []
        while entries:
            taken.append(entries.popleft())
            if isinstance(taken[-1].record, ToolInterrupted | ToolFinished):
                break
        if entries:
            self._tools[lane] = list(entries)
        return _tool(taken)

    def asked(self, lane: str) -> bool:
        """Take the next `tool.interrupted` of a call; whether there is one."""
        self._questions[lane] -= 1
        return self._questions[lane] >= 0

    def forget(self, lane: str) -> None:
        """Drop what a call did within itself, because its result is in the log."""
        inside = f"{lane}/"
        for kept in (self._steps, self._calls, self._tools):
            for key in [key for key in kept if key.startswith(inside)]:
                del kept[key]

    def drop_unfinished(self, lanes: Collection[str]) -> bool:
        """Drop what work in progress at the end of the log has there: what these calls did within themselves, events, questions.

        Nothing is dropped if there is something else. Returns whether something was dropped.
        """
        inside = tuple(f"{lane}/" for lane in lanes)
        begun = {lane: one for lane, one in self._tools.items() if not isinstance(one[-1].record, ToolInterrupted)}
        others = [key for kept in (self._steps, self._calls, begun) for key in kept if not key.startswith(inside)]
        if others or self._lanes.get("") or self.first() is None:
            return False
        for kept in (self._steps, self._calls, self._tools, self._lanes):
            kept.clear()
        return True

    def answer(self, question: str) -> RecordedAnswer | None:
        """Take the next response to a question."""
        answers = self._answers.get(question)
        return answers.popleft() if answers else None

    def withdraw(self, call: RecordedCall) -> tuple[int, list[Record]]:
        """Forget the events that follow a model call which broke off; the number of the last record that goes with it.

        And those of these records that the guest has come to again: they are withdrawn, too, and must be written anew.
        """
        first = call.started.seq
        last = max(one.seq for one in (call.started, *call.chunks))
        for lane, entries in self._lanes.items():
            last = max([last, *(one.seq for one in entries)])
            self._lanes[lane] = deque(one for one in entries if one.seq < first)
        return last, [one.record for one in self._taken if first < one.seq <= last]

    @property
    def cancels(self) -> bool:
        """Whether a cancel is still to come into force."""
        return any(cast("SignalReceived", one.record).kind == "cancel" for one in self._signals)

    def signal(self, *, before: float) -> SignalReceived | None:
        """Take the next signal, if it is in the log before that number and before every event that is still to come."""
        if not self._signals:
            return None
        events = (entries[0].seq for entries in self._lanes.values() if entries)
        if self._signals[0].seq > min([before, *events]):
            return None
        return cast("SignalReceived", self._signals.popleft().record)

    def unasked(self) -> Entry | None:
        """The first value in the log that the guest itself had asked for, and has not again; None if there is none."""
        found = [entry for key, entry in self._steps.items() if key.count("/") == 1]
        found += [call.ended or call.started for key, call in self._calls.items() if key.count("/") == 1]
        for lane, entries in self._tools.items():
            found += [one for one in entries if isinstance(one.record, ToolFinished) and lane.count("/") == 1]
        return min(found, default=None, key=lambda one: one.seq)

    def first(self) -> Entry | None:
        """The first record that the guest has not come to again, but signals; None if there is none."""
        found = [*self._steps.values(), *(call.started for call in self._calls.values())]
        found += [entries[0] for entries in (*self._lanes.values(), *self._tools.values()) if entries]
        return min(found, default=None, key=lambda one: one.seq)

    def event_left(self) -> Entry | None:
        """The first event that is still to come; None if there is none."""
        return min((one[0] for one in self._lanes.values() if one), default=None, key=lambda one: one.seq)


def _tool(entries: Sequence[Entry]) -> RecordedTool:
    begun, asked, finished, interrupted = False, 0, None, None
    for entry in entries:
        match entry.record:
            case ToolStarted():
                begun = True
            case ToolInterrupted():
                begun, asked, interrupted = False, asked + 1, entry
            case ToolFinished():
                finished = entry
            case _:
                pass
    starts = [one for one in entries if isinstance(one.record, ToolStarted)]
    progress = [one for one in entries if isinstance(one.record, ToolProgressed)]
    return RecordedTool(next(iter(starts), None), len(starts), asked, begun, finished, progress, interrupted)
