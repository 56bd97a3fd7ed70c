"""What a reader of a run has when its worker is killed: events that hold, and those that it takes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple, cast

from pydantic import BaseModel

from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import (
    ChildRecorded,
    ContextReduced,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelStarted,
    RunFailed,
    ToolProgressed,
    ToolStarted,
)
from tests.conformance.conformance_recording import OURS

__all__ = ["Reader", "Seen"]


class Seen(NamedTuple):
    """An event that holds, the record that it was derived from, and the turn in which it came."""

    turn: int
    entry: Entry
    event: dict[str, Any]


class Reader:
    """Reads one run as a client does, over its pauses, and withdraws what belongs to a call in which its worker was killed.

    Attributes:
        head: The number of the last record that it has read.
        seen: The events that hold.
        withdrawn: The texts of the other retractions, whose events stay, as Strands has them twice.
        unfinished: The number of the `model.started` of the call in which the worker was killed, if there is one.
        cut_off: The tool calls in which it was killed, each with the number of its `tool.started`: their progress comes
            again from its beginning.
    """

    def __init__(self, run_id: str, output_class: type[BaseModel] | None) -> None:
        self.head = 0
        self.seen: list[Seen] = []
        self.withdrawn: list[str] = []
        self.unfinished: int | None = None
        self.cut_off: dict[int, int] = {}
        self._retractions: list[dict[str, Any]] = []
        self._repeated: Counter[str] = Counter()
        self._projection = Projection(run_id, output_class=output_class)

    @property
    def error(self) -> Exception | None:
        """The exception with which the run failed."""
        return self._projection.error

    def read(self, entry: Entry, turn: int) -> Sequence[dict[str, Any]]:
        """Read the next record; returns its events."""
        record, self.head = entry.record, entry.seq
        if isinstance(record, ToolStarted) and record.index in self.cut_off:
            index, began = record.index, self.cut_off.pop(record.index)
            self.seen = [one for one in self.seen if not (one.entry.seq > began and _is_progress(one.entry, index))]
        seen: list[dict[str, Any]] = []
        for event in self._projection.feed(entry):
            calls, inner = nested(event)
            if calls and "retracted" in inner:
                self._withdraw_nested(calls)
            elif "retracted" in inner and isinstance(record, ChildRecorded):
                self.seen = [one for one in self.seen if not _is_within(inner, one.entry)]
            elif "retracted" in inner:
                self._retractions.append(event)
                self._withdraw()
            if OURS.isdisjoint(inner) and not self._is_repeated(calls, inner):
                seen.append(event)
                self.seen.append(Seen(turn, entry, event))
        return seen

    def killed_in_child(self, entries: Sequence[Entry]) -> None:
        """The worker was killed when a child had these records: as for `killed`, progress of its calls comes again."""
        state = fold(entries)
        for index in state.started - state.results.keys():
            began = [one for one in entries if isinstance(one.record, ToolStarted) and one.record.index == index][-1]
            call = cast("ToolStarted", began.record).tool_use["toolUseId"]
            given = sum(_is_progress(one, index) for one in entries if one.seq > began.seq)
            kept = [one for one in self.seen if _progress_of(*nested(one.event)) != call]
            self._repeated[call] += given - (len(self.seen) - len(kept))
            self.seen = kept

    def _is_repeated(self, calls: tuple[str, ...], inner: dict[str, Any]) -> bool:
        """Whether an event is progress, from before the kill, of a call that was cut off in a child."""
        call = _progress_of(calls, inner)
        if call is None or not self._repeated[call]:
            return False
        self._repeated[call] -= 1
        return True

    def _withdraw_nested(self, calls: tuple[str, ...]) -> None:
        """Take back what a call of a child's model streamed: what came of the child since the call began."""
        while True:
            at = next(index for index in reversed(range(len(self.seen))) if nested(self.seen[index].event)[0] == calls)
            if nested(self.seen[at].event)[1].keys().isdisjoint({"event", "delta"}):
                return
            del self.seen[at]

    def killed(self, entries: Sequence[Entry]) -> None:
        """The run's worker was killed after the last of these records."""
        state = fold(entries)
        started = {one.record.index: one.seq for one in entries if isinstance(one.record, ToolStarted)}
        self.cut_off = {index: started[index] for index in state.started - state.results.keys()}
        self.unfinished = _unfinished(entries)
        self._withdraw()

    def _withdraw(self) -> None:
        """Withdraw what the retraction of the unfinished call names; the failure of a call may have withdrawn it before the kill."""
        kept = [event for event in self._retractions if event["from_seq"] != self.unfinished]
        for event in self._retractions:
            if event not in kept:
                self.seen = [one for one in self.seen if not _is_within(event, one.entry)]
        self.withdrawn = [event["text"] for event in kept]


def nested(event: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The calls of agents within which an event came, by their tool use ids, and the event of the innermost one."""
    calls, inner = (), event
    while inner.get("type") == "tool_stream" and isinstance(data := inner["tool_stream_event"]["data"], dict):
        calls, inner = (*calls, inner["tool_stream_event"]["tool_use"]["toolUseId"]), data
    return calls, inner


def _progress_of(calls: tuple[str, ...], inner: dict[str, Any]) -> str | None:
    """The tool use id of the call in a child that gave a value; None for another event."""
    return inner["tool_stream_event"]["tool_use"]["toolUseId"] if calls and inner.get("type") == "tool_stream" else None


def _is_within(retraction: dict[str, Any], entry: Entry) -> bool:
    chunk = isinstance(entry.record, ModelChunk | ChildRecorded)  # the latter of a child that answers for its caller
    return chunk and retraction["from_seq"] <= entry.seq <= retraction["to_seq"]


def _is_progress(entry: Entry, index: int) -> bool:
    return isinstance(entry.record, ToolProgressed) and entry.record.index == index


def _unfinished(entries: Sequence[Entry]) -> int | None:
    """The number of the last `model.started`, if neither the message of its call nor its failure is in the log."""
    ends = (MessageAdded, ModelFailed, RunFailed, ContextReduced)
    after = list(takewhile(lambda entry: not isinstance(entry.record, ends), reversed(entries)))
    started = [entry.seq for entry in after if isinstance(entry.record, ModelStarted)]
    if not started or whole_answer(one.record.chunk for one in after[::-1] if isinstance(one.record, ModelChunk)):
        return None
    return started[0]
