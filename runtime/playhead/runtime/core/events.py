"""Derives from records the events that a consumer of a run sees, in Strands' vocabulary. Pure.

The reader derives events; they are never stored. The order and the keys are Strands' (1.62). Three things are added:
the attributes of `Event`, and two events. `{"retracted": True, "from_seq", "to_seq", "text"}` says that the text streamed
by those records is withdrawn, because the model call broke off and is made again.
`{"retrying": True, "delay", "attempt", "error_type", "error"}` says that a model call failed and is made again after a
wait of `delay` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from playhead.runtime.core.codec import stored_of
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.errors import RunFailedError, remote_error
from playhead.runtime.core.foreign_chunks import foreign_text, of_chunk
from playhead.runtime.core.hook_effects import hook_events
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.limits import is_limit_reason
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    ChildRecorded,
    ChildStarted,
    CycleStarted,
    Entry,
    EventEmitted,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunSubmitted,
    StructuredOutputProduced,
    ToolInterrupted,
    ToolProgressed,
)
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.segments import TEXT, Segment, Stored, record_of
from playhead.runtime.core.structured_output import typed_output
from playhead.runtime.core.tool_input import without_unread

__all__ = ["Event", "Projection"]


class Event(dict[str, Any]):
    """One event: a plain dict with its position in the run.

    Attributes:
        run_id: The run.
        seq: The number of the record that it was derived from.
        at: When that record was made, in unix milliseconds.
        epoch: The epoch of the owner that wrote the record.
        index: Its position among the events of the record; None for the last.
    """

    __slots__ = ("at", "epoch", "index", "run_id", "seq")

    run_id: str
    seq: int
    at: int
    epoch: int
    index: int | None

    @property
    def cursor(self) -> str:
        """The exact position of this event: pass it as `after=` to continue after it."""
        place = f"{self.seq}-{self.epoch}"
        return place if self.index is None else f"{place}.{self.index}"

    def to_json(self) -> str:
        """The event as one line of JSON that every parser accepts.

        Bytes become `{"__bytes_encoded__": true, "data": base64}`, Strands' form; a number that JSON does not have
        becomes the string `NaN`, `Infinity` or `-Infinity`; characters that end a line for some readers are escaped. An
        instance of a pydantic class is its own JSON.
        """
        return json_line(self, other=_dumped)


def _dumped(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


class Projection:
    """Turns the records of one run into events, in order.

    Feed it record 1, then consecutive records from the start of a model call (or from record 2) on. The events do not
    depend on the record at which it starts. Events at or before `after` are computed but not returned.

    A structured output is an instance of `output_class`, if there is one, else a dict.

    Attributes:
        ended: Whether the terminal record has been read.
        error: The exception that the reader must raise if the run failed.
        invocation_state: The caller's values that appear in the events.
        output_class: The reader's class of the structured output.
    """

    __slots__ = (
        "_after",
        "_children",
        "_chunks",
        "_message",
        "_quiet",
        "_refused",
        "ended",
        "error",
        "invocation_state",
        "output_class",
        "run_id",
    )

    def __init__(
        self, run_id: str, *, after: Cursor | None = None, output_class: type[BaseModel] | None = None
    ) -> None:
        self.run_id: str = run_id
        self.ended: bool = False
        self.error: RunFailedError | None = None
        self.output_class: type[BaseModel] | None = output_class
        self._after = parse_cursor(after)
        self.invocation_state: dict[str, Any] = {}
        self._message = MessageAssembler()
        self._children: dict[int, _Child] = {}  # of the batch, by the index of the call
        self._quiet = False  # the chunks are those of a summary, which readers do not see
        self._refused = False  # the history of the last call was too long
        self._chunks = 0  # of this call, without the text deltas that `events` appends to the message directly

    @staticmethod
    def may_begin_at(record: Record) -> bool:
        """Whether a projection may begin at this record: its events depend on no earlier record except record 1."""
        if isinstance(record, ModelStarted):
            return not record.continues
        return isinstance(record, MessageAdded | CycleStarted)

    def events(self, segment: Segment) -> Iterator[Event]:
        """Yield the events of a segment's records after the cursor, each when it is asked for.

        They equal those that `feed` returns. The events of text deltas, which are the most frequent, are made from the
        stored array, which is three times as fast.
        """
        return self.events_at(*segment)

    def events_at(self, first: int, epoch: int, values: Iterable[Stored]) -> Iterator[Event]:
        """Like `events`, for the segment with these fields."""
        run_id, seq, here = self.run_id, first - 1, self._after.seq < first
        say, given, loud = self._message.streamed.append, self.invocation_state, here and not self._quiet
        for value in values:
            seq += 1
            if type(value) is not list or value[0] != TEXT or not loud:
                yield from self.feed(Entry(seq, epoch, record_of(value)))
                # feeding the record may have changed all of them
                say, given, loud = self._message.streamed.append, self.invocation_state, here and not self._quiet
                continue
            at, text = value[1], value[2]
            say(text)
            delta = {"text": text}
            block = {"delta": delta} if len(value) == 3 else {"contentBlockIndex": value[3], "delta": delta}
            event = Event()
            event["event"] = {"contentBlockDelta": block}
            event.run_id = run_id
            event.seq = seq
            event.at = at
            event.epoch = epoch
            event.index = 0
            yield event
            event = Event()
            event["data"] = text
            event["delta"] = delta
            if given:
                event.update(given)
            event.run_id = run_id
            event.seq = seq
            event.at = at
            event.epoch = epoch
            event.index = None
            yield event

    def feed(self, entry: Entry) -> list[Event]:
        """The events of one record after the cursor: usually one or two, sometimes none."""
        seq, epoch, record = entry
        events = self._chunk(record) if type(record) is ModelChunk else self._events(record, seq)
        if not events:
            return events
        run_id, at = self.run_id, record.at
        for index, event in enumerate(events):
            event.run_id = run_id
            event.seq = seq
            event.at = at
            event.epoch = epoch
            event.index = index
        events[-1].index = None
        after, seen, _ = self._after
        if seq > after:
            return events
        return events[seen + 1 :] if seq == after else []

    def _events(self, record: Record, seq: int) -> list[Event]:
        if record.type in TERMINAL_TYPES:
            self.ended = True
        match record:
            case RunSubmitted():
                self.invocation_state = record.invocation_state
            case CycleStarted(cycle=1) | CycleStarted(resumes=True) | RunResumed():
                self._restate(record.invocation_state)
                return [
                    Event({"init_event_loop": True, **self.invocation_state}),
                    Event(start=True),
                    Event(start_event_loop=True),
                ]
            case CycleStarted(again=True):
                return [Event(start=True), Event(start_event_loop=True)]
            case CycleStarted():  # Strands' recursion emits "start" once more
                return [Event(start=True), Event(start=True), Event(start_event_loop=True)]
            case ModelStarted():
                return self._call_begins(record)
            case ModelRetried() | ModelFailed():
                return self._call_again(record)
            case MessageAdded(origin="model" | "tools"):
                self._forget()
                self._children = {}
                return [Event(message=without_unread(record.message))]
            case EventEmitted():
                return [Event(record.event)]
            case ToolProgressed() | ToolInterrupted() | ChildStarted() | ChildRecorded():
                return self._of_call(record, seq)
            case _:
                return self._outcome(record)
        return []

    def _of_call(
        self, record: ToolProgressed | ToolInterrupted | ChildStarted | ChildRecorded, seq: int
    ) -> list[Event]:
        match record:
            case ToolProgressed() | ToolInterrupted() if record.nested:
                return []  # what the call gives in which it was made is all that a reader sees
            case ToolProgressed():
                progress = {"tool_use": record.tool_use, "data": record.data}
                return [Event(type="tool_stream", tool_stream_event=progress)]
            case ToolInterrupted():
                asked = [Interrupt(interrupt) for interrupt in record.interrupts]
                return [Event(tool_interrupt_event={"tool_use": record.tool_use, "interrupts": asked})]
            case ChildStarted():
                self._children[record.index] = _Child(record)
                return []
            case ChildRecorded():
                return self._of_child(record, seq)

    def _of_child(self, record: ChildRecorded, seq: int) -> list[Event]:
        """The events of a child, each in one of this run, but for its result, which is that of the call."""
        if record.index not in self._children:
            return []
        child = self._children[record.index]
        events = child.events(record, seq)
        if child.started.delegate:
            return events
        use = child.started.tool_use
        return [Event(type="tool_stream", tool_stream_event={"tool_use": use, "data": dict(event)}) for event in events]

    def _outcome(self, record: Record) -> list[Event]:
        """The events of what a run gives: its structured output, its result or its failure."""
        match record:
            case StructuredOutputProduced():
                return [Event(structured_output=typed_output(self.output_class, record.value, run_id=self.run_id))]
            case RunCompleted() | RunCancelled() | RunPaused():
                output = typed_output(self.output_class, record.result.get("structured_output"), run_id=self.run_id)
                # A cycle that a limit prevents has begun in Strands, unless it repeats one whose history was too long.
                limited = is_limit_reason(record.result.get("stop_reason")) and not self._refused
                limited = limited and record.result.get("begun", True)  # a hosted agent of Strands tells if it did not
                begun = [Event(start=True)] if limited else []
                return [*begun, Event(result=AgentResult(record.result).with_output(output))]
            case RunFailed():
                self.error = remote_error(record.error_type, record.message, run_id=self.run_id)
                if record.force_stop:
                    return [Event(force_stop=True, force_stop_reason=record.message)]
            case _:
                return [Event(shown) for shown in hook_events(record)]
        return []

    def _chunk(self, record: ModelChunk) -> list[Event]:
        if self._quiet:
            return []
        self._chunks += 1
        chunk = record.chunk
        if (item := of_chunk(chunk)) is not chunk:
            return self._foreign(item)
        derived = self._message.feed(chunk)
        if derived is None:
            return [] if chunk is self._message.repeated else [Event(event=chunk)]
        if self.invocation_state:
            derived.update(self.invocation_state)
        return [Event(event=chunk), Event(derived)]

    def _foreign(self, item: Any) -> list[Event]:
        """The events of an item that a guest's model sent in a form of its own."""
        text = foreign_text(item)
        if not text:
            return [Event(event=item)]
        self._message.streamed.append(text)
        return [Event(event=item), Event({"data": text, "delta": {"text": text}, **self.invocation_state})]

    def _restate(self, given: dict[str, Any] | None) -> None:
        if given is not None:
            self.invocation_state = given

    def _call_begins(self, record: ModelStarted) -> list[Event]:
        self._restate(record.invocation_state)
        if record.continues:
            self._message.go_on()
            return []
        refused = self._refused
        self._forget()
        self._quiet = bool(record.summarizes)
        self._refused = refused and self._quiet  # the summary is of that history
        if (delay := record.delay) is None:
            return []
        throttled = int(delay) if delay == int(delay) else delay  # the wait is over, as where Strands tells of it
        return [Event({"event_loop_throttled_delay": throttled, **self.invocation_state})]

    def _forget(self) -> None:
        """End the model call."""
        self._message, self._chunks, self._quiet, self._refused = MessageAssembler(), 0, False, False

    def _call_again(self, record: ModelRetried | ModelFailed) -> list[Event]:
        if isinstance(record, ModelFailed) and record.overflow:
            self._refused = True
            return [Event(force_stop=True, force_stop_reason=record.message)]
        if isinstance(record, ModelFailed):
            about = {"delay": record.delay, "attempt": record.attempt, "error_type": record.error_type}
            return [Event(retrying=True, **about, error=record.message)]
        message, chunks = self._message, self._chunks
        self._forget()
        if not (chunks or message.streamed):  # the call ended before its first chunk: there is nothing to withdraw
            return []
        first, last = record.supersedes
        return [Event(retracted=True, from_seq=first, to_seq=last, text=message.text)]


class _Child:
    """A child, as the log of its parent has it.

    Args:
        started: Its first record there.
    """

    __slots__ = ("_call", "_projection", "started")

    def __init__(self, started: ChildStarted) -> None:
        self.started = started
        self._projection = Projection(started.run)
        self._call = 0  # the parent's record with which its model call begins

    def events(self, record: ChildRecorded, seq: int) -> list[Event]:
        """The events of some of its records, which are record `seq` of the parent; without its result.

        A retraction names records of the child, unless the child answers for its parent: then readers have the
        parent's. A model call and its retraction begin a record of the parent there, see `children.parts`.
        """
        stored = [stored_of(value, b"") for value in record.values]
        events = [event for event in self._projection.events_at(1, 1, stored) if "result" not in event]
        for event in events if self.started.delegate else ():
            if "retracted" in event:
                event.update(from_seq=self._call, to_seq=max(self._call, seq - 1))
        if any(isinstance(one, ModelStarted) and not one.continues for one in stored):
            self._call = seq
        return events
