"""The timeline of a run: what took how long, as bars on a time axis. Pure; the terminal and the HTML pages draw it.

    timeline(entries) -> Timeline

Times are those of the records. The clocks of two owners may differ: a record that is dated before an earlier one counts
as made at the same time as that one, so that time never goes back.

The first records of a fork are its parent's, with their times. The time from the last of them to the fork's first owner is
a bar of its own and part of no cycle's cost, because neither run was at work then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from playhead.runtime.core.definition import place_of_fork
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    ChildRecorded,
    ContextReduced,
    CycleStarted,
    Entry,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunHandedOver,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    StructuredOutputProduced,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)

__all__ = ["Bar", "BarKind", "Cycle", "Drawing", "Mark", "Outcome", "Timeline", "timeline"]

BarKind = Literal["model", "tool", "queue", "retry", "human", "takeover", "handover", "fork"]
"""What a bar is: a call of the model or of a tool, or a wait: for the first worker, for the next try of a failed model
call, for a human, for another worker after an owner died, or after one handed the run over; or, in a fork, the time
between its parent's last record and its own first owner."""

Outcome = Literal["open", "ok", "error", "withdrawn", "interrupted"]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took time.

    Attributes:
        kind: What it is.
        name: The tool, the cycle of a model call and which try it was, the new worker, or what was waited for.
        first, last: The records by which it began and ended; `last` is the last record so far if it is open.
        began, ended: In unix milliseconds. outcome: `open` if it has not ended; `withdrawn` for a model call that was
        cut off, `error` for one that failed; `interrupted` for a tool
            that asked a human, or whose owner died.
        lane: 0, or the first lane that was free, for tools that run side by side.
        cycle: The cycle in which it began.
        input_tokens, output_tokens: Of a model call that ended with a message.
    """

    kind: BarKind
    name: str
    first: int
    last: int
    began: int
    ended: int
    outcome: Outcome = "open"
    lane: int = 0
    cycle: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def took_ms(self) -> int:
        """How long it has taken so far, in milliseconds."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that took no time: a signal, a hook's verdict, the structured output, the first record of another owner, the end.

    Attributes:
        kind: The record's type.
        seq, at: The record, and when it was made, unix milliseconds.
        name: The signal's kind, the name of the output, the verdict, the worker, or the error.
    """

    kind: str
    seq: int
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle and its cost: a model call, its retries, and the tools that it asked for.

    Attributes:
        number: 1, 2, …
        first, last: Its first and its last record.
        began, ended: Unix milliseconds.
        model_ms: Time in model calls.
        tool_ms: Time in tools; each of several tools that run side by side counts.
        wait_ms: Time in waits.
        apart_ms: Time between the records of a fork's parent and the fork's first owner.
        tools: Number of tool calls that began.
        input_tokens, output_tokens: The tokens of its message.
    """

    number: int
    first: int
    last: int
    began: int
    ended: int
    model_ms: int = 0
    tool_ms: int = 0
    wait_ms: int = 0
    apart_ms: int = 0
    tools: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def took_ms(self) -> int:
        """How long it took, in milliseconds, without `apart_ms`."""
        return self.ended - self.began - self.apart_ms


@dataclass(frozen=True, slots=True)
class Timeline:
    """What a run did, and when. Equal records give equal timelines.

    Attributes:
        began, ended: The first record, and the last one or the time until which what is open lasts; unix milliseconds.
        records: The number of records.
        bars: The bars, in the order in which they began.
        marks: The marks, in order.
        cycles: The cycles, in order.
    """

    began: int = 0
    ended: int = 0
    records: int = 0
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()
    cycles: tuple[Cycle, ...] = ()

    @property
    def lanes(self) -> int:
        """The largest number of tools that ran side by side."""
        return max((bar.lane + 1 for bar in self.bars if bar.kind == "tool"), default=0)


def timeline(entries: Iterable[Entry]) -> Timeline:
    """Make the timeline of a run from its records: all of them, or those so far."""
    drawing = Drawing()
    for entry in entries:
        drawing.add(entry)
    return drawing.value()


class Drawing:
    """The timeline so far, with the bars that have not ended; `tool` bars by their index in the batch."""

    def __init__(self) -> None:
        self._bars: list[Bar] = []
        self._marks: list[Mark] = []
        self._cycles: list[Cycle] = []
        self._call: int | None = None  # all of these are places in `_bars`
        self._last_call: int | None = None
        self._call_key: str = ""  # of the call of a guest, whose end is a step
        self._wait: int | None = None
        self._tools: dict[int | str, int] = {}  # by the index in the batch; a guest's by their lanes
        self._began: int | None = None
        self._at = 0
        self._seq = 0
        self._inherited = 0  # how many records are those of a fork's parent; 0 after the fork's first claim

    def value(self, *, now: int | None = None) -> Timeline:
        """The timeline of the records so far; nothing is added after this.

        What is open lasts until `now`, unix milliseconds; until the last record without it.
        """
        if now is not None:
            self._at = max(self._at, now)
        for place in (self._call, self._wait, *self._tools.values()):
            if place is not None:
                self._bars[place] = replace(self._bars[place], last=self._seq, ended=self._at)
        return Timeline(
            self._began or 0,
            self._at,
            self._seq,
            tuple(self._bars),
            tuple(self._marks),
            tuple(self._closed_cycles()),
        )

    def _closed_cycles(self) -> Iterable[Cycle]:
        bars: dict[int, list[Bar]] = {}
        for bar in self._bars:
            bars.setdefault(bar.cycle, []).append(bar)
        ends = [(one.first - 1, one.began) for one in self._cycles[1:]]
        for cycle, (last, ended) in zip(self._cycles, [*ends, (self._seq, self._at)], strict=False):
            yield _with_costs(replace(cycle, last=last, ended=ended), bars.get(cycle.number, []))

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        seq, _, record = entry
        before = self._seq, self._at
        self._seq = seq
        if not 0 < self._inherited < seq or isinstance(record, RunClaimed):
            self._at = max(self._at, record.at)  # what a fork is told before its first claim takes no time
        self._began = self._at if self._began is None else self._began
        if type(record) is ModelChunk or isinstance(record, ToolProgressed | ChildRecorded):
            return  # nearly all records: they neither begin nor end a bar
        if isinstance(record, RunClaimed):
            self._claimed(entry, record, before)
        elif isinstance(record, RunHandedOver) and record.delay:  # the wait for the next try of a call goes on
            self._mark(record, record.worker)
            return
        elif self._wait is not None and not isinstance(record, RunSubmitted):
            self._end_wait()
        self._note(record)

    def _claimed(self, entry: Entry, record: RunClaimed, before: tuple[int, int]) -> None:
        """Begin the time of another owner: everything that the former one had open ended with its last record."""
        forked = 0 < self._inherited < entry.seq
        if forked or (self._wait is None and entry.epoch > 1):
            self._break_off(*before)
            kind = "fork" if forked else "takeover"
            self._wait = self._begin(kind, record.worker, first=before[0], began=before[1])
        self._inherited = 0 if forked else self._inherited
        self._end_wait(named=record.worker)
        if entry.epoch > 1:
            self._mark(record, record.worker)

    def _note(self, record: Record) -> None:
        match record:
            case RunSubmitted():
                self._inherited = place_of_fork(record)
                self._wait = self._begin("queue", record.agent)
            case CycleStarted():
                self._cycles.append(Cycle(record.cycle, self._seq, self._seq, self._at, self._at))
            case ModelStarted() | ModelRetried() | ModelFailed() | ContextReduced():
                self._note_call(record)
            case MessageAdded(origin="model"):
                self._answered(record.message.get("metadata", {}).get("usage", {}))
            case StepFinished(key=key) if key and key == self._call_key:
                self._end_call("ok" if record.error is None else "error")
            case ToolStarted():
                self._tools[record.lane or record.index] = self._begin(
                    "tool", str(record.tool_use["name"]), lane=self._free_lane()
                )
            case ToolFinished():
                self._end_tool(record.lane or record.index, "ok" if record.result["status"] == "success" else "error")
            case ToolInterrupted():
                self._end_tool(record.lane or record.index, "interrupted")
            case RunPaused():
                names = ", ".join(str(one.get("name", "")) for one in record.interrupts)
                self._wait = self._begin("human", names)
            case RunHandedOver():
                self._break_off(self._seq, self._at)
                self._mark(record, record.worker)
                self._wait = self._begin("handover", record.worker)
            case SignalReceived(kind=name) | StructuredOutputProduced(name=name):
                self._mark(record, name)
            case _ if record.type in TERMINAL_TYPES:
                self._run_ended(record)
            case _:
                self._decided(record)

    def _note_call(self, record: ModelStarted | ModelRetried | ModelFailed | ContextReduced) -> None:
        match record:
            case ModelStarted():
                self._end_call("withdrawn")
                number = record.lane.rpartition(":")[2]  # the calls of a guest are numbered in their keys
                name = f"call {number}" if number else self._call_name(record.attempt)
                self._call = self._begin("model", "summary" if record.summarizes else name)
                self._call_key = record.lane
            case ModelRetried():
                self._end_call("withdrawn")
            case ModelFailed():
                self._call_failed()
                if not record.overflow:
                    self._wait = self._begin("retry", record.error_type)
            case ContextReduced():
                self._end_call("ok", usage=record.usage)
                self._mark(record, record.reason)

    def _call_name(self, attempt: int) -> str:
        cycle = f"cycle {self._cycles[-1].number if self._cycles else 1}"
        return cycle if attempt == 1 else f"{cycle}, try {attempt}"

    def _begin(
        self, kind: BarKind, name: str, *, lane: int = 0, first: int | None = None, began: int | None = None
    ) -> int:
        first, began = first or self._seq, self._at if began is None else began
        cycle = self._cycles[-1].number if self._cycles else 0
        self._bars.append(Bar(kind, name, first, first, began, began, lane=lane, cycle=cycle))
        return len(self._bars) - 1

    def _end(self, place: int, outcome: Outcome, **more: Any) -> None:
        last, ended = more.pop("last", self._seq), more.pop("ended", self._at)
        self._bars[place] = replace(self._bars[place], last=last, ended=ended, outcome=outcome, **more)

    def _answered(self, usage: dict[str, Any]) -> None:
        """The message of an answer is there: it ends the call, unless the end of the call was a record before it."""
        if self._call is None and self._last_call is not None and usage:
            tokens = {name: _count(usage, key) for name, key in _TOKENS.items()}
            self._bars[self._last_call] = replace(self._bars[self._last_call], **tokens)
        self._end_call("ok", usage=usage)

    def _end_call(self, outcome: Outcome, *, usage: dict[str, Any] | None = None, **more: int) -> None:
        if self._call is not None:
            tokens = {name: _count(usage, key) for name, key in _TOKENS.items()}
            self._end(self._call, outcome, **tokens, **more)
            self._call, self._last_call = None, self._call

    def _run_ended(self, record: Record) -> None:
        if getattr(record, "force_stop", False):  # an exception of the model call ended the run
            self._end_call("error")
        self._break_off(self._seq, self._at)
        self._mark(record, str(getattr(record, "error_type", "")))

    def _call_failed(self) -> None:
        """End the call as failed; a `model.retried` directly before has ended it already."""
        self._end_call("error")
        if (place := self._last_call) is not None and self._bars[place].last >= self._seq - 1:
            self._bars[place] = replace(self._bars[place], outcome="error")

    def _end_tool(self, index: int | str, outcome: Outcome) -> None:
        place = self._tools.pop(index, None)
        if place is not None:  # a call that was cancelled before it began has no bar
            self._end(place, outcome)

    def _decided(self, record: Record) -> None:
        """Mark the verdict of a hook."""
        if isinstance(record, ToolDecided) and record.verdict == "retry":
            self._end_tool(record.index, "withdrawn")
        if isinstance(record, ToolDecided | HookDecided):
            self._mark(record, record.verdict)

    def _end_wait(self, *, named: str | None = None) -> None:
        if self._wait is not None:
            self._end(
                self._wait,
                "ok",
                **({"name": named} if named and self._bars[self._wait].kind not in ("human", "retry") else {}),
            )
            self._wait = None

    def _break_off(self, last: int, ended: int) -> None:
        """End everything that the owner had open, at the owner's last record; in a fork also what its parent waited for."""
        self._end_call("withdrawn", last=last, ended=ended)
        if self._wait is not None:
            self._end(self._wait, "ok", last=last, ended=ended)
            self._wait = None
        for place in self._tools.values():
            self._end(place, "interrupted", last=last, ended=ended)
        self._tools.clear()

    def _free_lane(self) -> int:
        taken = {self._bars[place].lane for place in self._tools.values()}
        return next(lane for lane in range(len(taken) + 1) if lane not in taken)

    def _mark(self, record: Record, name: str) -> None:
        self._marks.append(Mark(record.type, self._seq, self._at, name))


_TOKENS: Final = {"input_tokens": "inputTokens", "output_tokens": "outputTokens"}


def _count(usage: dict[str, Any] | None, key: str) -> int:
    count = (usage or {}).get(key, 0)
    return count if isinstance(count, int) else 0


def _with_costs(cycle: Cycle, bars: list[Bar]) -> Cycle:
    tools = [bar for bar in bars if bar.kind == "tool"]
    model = [bar for bar in bars if bar.kind == "model"]
    return replace(
        cycle,
        model_ms=sum(bar.took_ms for bar in model),
        tool_ms=sum(bar.took_ms for bar in tools),
        wait_ms=sum(bar.took_ms for bar in bars if bar.kind not in ("model", "tool", "fork")),
        apart_ms=sum(bar.took_ms for bar in bars if bar.kind == "fork"),
        tools=len(tools),
        input_tokens=sum(bar.input_tokens for bar in model),
        output_tokens=sum(bar.output_tokens for bar in model),
    )
