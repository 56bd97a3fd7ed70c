"""The acts of a run: its records without those that only say how something was done. Pure.

An act is what two runs of one agent can be compared by: a message that entered, the answer of a model, the call of a
tool, a question to a human, a signal, the verdict of a hook, the end. Takeovers, calls that were made again and the pieces of a stream are not
acts of their own; their time is part of the act in which they happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.fork_gap import ForkGap
from playhead.runtime.core.guest_words import said_in, text_of, usage_in, who_said
from playhead.runtime.core.made import MadeAgent
from playhead.runtime.core.records import (
    AgentMade,
    ContextReduced,
    CycleStarted,
    Entry,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StateChanged,
    StepFinished,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.state import tool_uses

__all__ = ["ActKind", "Acts", "RunAct", "acts"]

ActKind = Literal["submitted", "message", "model", "tool", "question", "context", "signal", "hook", "end"]

Place = tuple[int, int, int, int]
"""Cycle, order of the kind within a cycle, index of a call, ordinal among those of the same place."""

_ORDER: Mapping[ActKind, int] = {
    "submitted": 0,
    "message": 1,
    "model": 2,
    "question": 3,
    "tool": 4,
    "context": 5,
    "signal": 6,
    "hook": 7,
    "end": 8,
}


@dataclass(frozen=True, slots=True)
class RunAct:
    """One thing that a run did.

    Attributes:
        kind: What it is.
        place: Where in the run it is. Acts of two runs that have the same place belong together.
        name: Of a tool, its name; of a message, its origin; of a signal, its kind; of a reduction of the history, its reason;
            of a hook, its verdict; of an end, the state; else empty.
        first, last: The numbers of its first and its last record.
        at_ms: When it began, in milliseconds after record 1.
        took_ms: How long it took, in milliseconds; in a fork without the time before its own first record.
        content: What it was, without ids and times, which differ from run to run.
        usage: The tokens of a model's answer, or of its summary.
        calls: How often the model was called for its answer; 0 for the other kinds.
        definition: The digest of the definition by which the owner got a model's answer; empty for the other kinds.
    """

    kind: ActKind
    place: Place
    name: str
    first: int
    last: int
    at_ms: int
    took_ms: int
    content: Mapping[str, Any]
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    calls: int = 0
    definition: str = ""

    @property
    def cycle(self) -> int:
        """The cycle in which it was; 0 is before the first."""
        return self.place[0]


def acts(entries: Iterable[Entry]) -> list[RunAct]:
    """What a run did, in the order of the records with which each act ended; what has not ended is last.

    Args:
        entries: The run's records, from record 1 on.
    """
    told = Acts()
    for entry in entries:
        told.add(entry)
    return told.finished()


@dataclass(slots=True)
class _OpenAct:
    entry: Entry
    calls: int = 0
    said: list[str] = field(default_factory=list[str])
    ended: Entry | None = None  # of a guest's call


class Acts:
    """Makes acts of records, of which it holds none but those that began what is open.

    Attributes:
        made: By their digests, the definitions of agents that a factory made, which are in the records.
    """

    def __init__(self) -> None:
        self._acts: list[RunAct] = []
        self._ordinals: Counter[tuple[int, ActKind, int]] = Counter()
        self._began_at = 0
        self._cycle = 0
        self._definition = ""
        self._made = ""  # the digest of what a factory made, until an owner has its agent from its worker
        self.made: dict[str, AgentDefinition] = {}
        self._last = 0
        self._gap = ForkGap()
        self._model: _OpenAct | None = None
        self._tools: dict[int | str, Entry] = {}  # by the index in the batch; a guest's by their lanes
        self._lanes: dict[str, str] = {}
        self._uses: list[ToolUse] = []

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        record, self._last = entry.record, entry.seq
        self._gap.add(entry)
        match record:
            case ModelChunk():
                self._hear(record)
            case ModelStarted() if not record.summarizes:
                self._end_of_guests_call()
                self._model = self._model or _OpenAct(entry)
                self._model.calls += 1
            case ModelRetried():
                if self._model is not None:
                    self._model.said.clear()
            case ContextReduced():
                self._add("context", record.reason, entry, _reduction(record), usage=record.usage)
            case CycleStarted():
                self._cycle = record.cycle
            case RunClaimed() | AgentMade():
                self._define(record)
            case ToolStarted():
                self._end_of_guests_call()
                self._lanes[record.lane] = record.tool_use["name"]
                self._tools.setdefault(record.lane or record.index, entry)
            case RunSubmitted():
                self._began_at = record.at
                content = {"prompt": record.prompt, "invocation_state": record.invocation_state}
                self._add("submitted", "", entry, content)
            case MessageAdded():
                self._add_message(entry, record)
            case ToolFinished():
                result = {"status": record.result["status"], "content": record.result["content"]}
                result |= {} if record.stop is None else {"stop": record.stop}
                result |= {} if record.state is None else {"state": record.state}
                self._add_call("tool", record, record.name, entry, result)
            case ToolInterrupted():
                asked = [{"name": one.get("name"), "reason": one.get("reason")} for one in record.interrupts]
                self._add_call("question", record, record.tool_use["name"], entry, {"asked": asked})
            case SignalReceived():
                body: Any = record.body
                answers = list(body.values()) if record.kind == "respond" and isinstance(body, dict) else body
                given = record.invocation_state
                state = {} if given is None else {"invocation_state": given}
                self._add("signal", record.kind, entry, {"body": answers, **state})
            case _:
                self._add_rest(entry)

    def finished(self) -> list[RunAct]:
        """All acts, with those that have not ended."""
        self._end_of_guests_call()
        if self._model is not None:
            content = {"text": "".join(self._model.said), "unfinished": True}
            self._add("model", "", self._model.entry, content, calls=self._model.calls, last=self._last)
            self._model = None
        for entry in sorted(self._tools.values(), key=lambda one: one.seq):
            if isinstance(entry.record, ToolStarted):
                use, index = entry.record.tool_use, entry.record.index
                content = {"input": use["input"], "unfinished": True}
                self._add("tool", use["name"], entry, content, index=index, last=self._last)
        self._tools.clear()
        return self._acts

    def _define(self, record: RunClaimed | AgentMade) -> None:
        """Note the definition by which the owner that begins gets its answers."""
        if isinstance(record, RunClaimed):
            self._made = "" if record.definition else self._made
            self._definition = record.definition or self._made
            return
        made = MadeAgent.of(record)
        self._made = self._definition = made.digest
        self.made[made.digest] = made.definition

    def _hear(self, record: ModelChunk) -> None:
        if self._model is not None and (text := text_of(record.chunk)):
            self._model.said.append(text)

    def _add_message(self, entry: Entry, record: MessageAdded) -> None:
        if record.origin == "tools":  # it has the results that are acts already
            self._tools.clear()
        elif record.origin == "model":
            self._uses = tool_uses(record.message)
            content = {"stop_reason": record.stop_reason, "content": _blocks(record.message)}
            opened = self._model or _OpenAct(entry)
            told: Any = (record.message.get("metadata") or {}).get("usage") or {}
            usage = {name: count for name, count in told.items() if isinstance(count, int)}
            self._add("model", "", entry, content, began=opened.entry, usage=usage, calls=opened.calls)
            self._model = None
        else:
            self._add("message", record.origin, entry, {"content": _blocks(record.message)})

    def _step(self, entry: Entry, record: StepFinished) -> None:
        """A call of a guest's model has ended: what follows tells whether a message of it comes into the history."""
        if not record.ends_call:
            return
        if self._model is not None and cast("ModelStarted", self._model.entry.record).lane == record.key:
            self._model.ended = entry
        elif isinstance(record.value, list):
            content = {"text": said_in(record)}
            self._add("model", who_said(record.key, self._lanes), entry, content, usage=usage_in(record), calls=1)

    def _end_of_guests_call(self) -> None:
        """The guest has gone on after a call of its model: its answer is an act of its own."""
        if self._model is not None and self._model.ended is not None:
            ended, content = self._model.ended, {"text": "".join(self._model.said)}
            self._add("model", "", ended, content, began=self._model.entry, calls=self._model.calls)
            self._model = None

    def _add_call(
        self,
        kind: ActKind,
        record: ToolFinished | ToolInterrupted,
        name: str,
        entry: Entry,
        outcome: Mapping[str, Any],
    ) -> None:
        index = record.index
        began = self._tools.pop(record.lane or index, entry)
        if record.lane and isinstance(began.record, ToolStarted):
            given: Any = began.record.tool_use["input"]
        else:
            given = self._uses[index]["input"] if index < len(self._uses) else None
        self._add(kind, name, entry, {"input": given, **outcome}, began=began, index=index)

    def _add_rest(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case ToolDecided():
                use = (
                    None if record.change is None else {"name": record.change["name"], "input": record.change["input"]}
                )
                content = {"message": record.message, "change": use, "tool": record.tool}
                self._add("hook", record.verdict, entry, content, index=record.index)
            case HookDecided():
                self._add("hook", record.verdict, entry, {"event": record.event, "value": _decided(record.value)})
            case StateChanged():
                name = "state begins" if record.begins else "state"
                self._add("hook", name, entry, {"values": record.values, "deleted": record.deleted})
            case StepFinished():
                self._step(entry, record)
            case RunPaused():
                self._end_of_guests_call()
                if record.interrupts and not self._uses:  # a guest asks outside of any call
                    asked = [{"name": one.get("name"), "reason": one.get("reason")} for one in record.interrupts]
                    self._add("question", ", ".join(str(one["name"]) for one in asked), entry, {"asked": asked})
            case RunFailed(error_type=kind, message=text):
                self._add("end", "failed", entry, {"error_type": kind, "message": text})
            case RunCompleted(result=result) | RunCancelled(result=result):
                state = "completed" if isinstance(record, RunCompleted) else "cancelled"
                told = {name: result[name] for name in ("stop_reason", "structured_output") if name in result}
                self._add("end", state, entry, told)
            case _:
                pass

    def _add(
        self,
        kind: ActKind,
        name: str,
        entry: Entry,
        content: Mapping[str, Any],
        *,
        began: Entry | None = None,
        index: int = 0,
        last: int | None = None,
        usage: Mapping[str, int] | None = None,
        calls: int = 0,
    ) -> None:
        first = began or entry
        took_ms = entry.record.at - first.record.at - self._gap.within(first.seq, entry.seq)
        ordinal = self._ordinals[(self._cycle, kind, index)]
        self._ordinals[(self._cycle, kind, index)] += 1
        self._acts.append(
            RunAct(
                kind=kind,
                place=(self._cycle, _ORDER[kind], index, ordinal),
                name=name,
                first=first.seq,
                last=entry.seq if last is None else last,
                at_ms=first.record.at - self._began_at,
                took_ms=max(0, took_ms),
                content=content,
                usage=dict(usage or {}),
                calls=calls,
                definition=self._definition if kind == "model" else "",
            )
        )


def _reduction(record: ContextReduced) -> Mapping[str, Any]:
    summary = None if record.summary is None else _blocks(record.summary)
    return {"removed": record.removed, "cut": record.cut, "summary": summary}


def _decided(value: Any) -> Any:
    """What a hook decided, without the id of a message that it made."""
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, Any]", value)
    return {name: item for name, item in given.items() if name != "tracking_id"}


def _blocks(message: Message) -> list[Any]:
    """The content of a message without the ids of its calls, which no two runs have in common."""
    shown: list[Any] = []
    for block in message.get("content", []):
        if "toolUse" in block:
            shown.append({"tool": block["toolUse"]["name"], "input": block["toolUse"]["input"]})
        elif "toolResult" in block:
            shown.append({"status": block["toolResult"]["status"], "content": block["toolResult"]["content"]})
        else:
            shown.append(block)
    return shown
