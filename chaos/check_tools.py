"""Checks tools: their calls in the log, and the traces of their bodies. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.evidence import Begun, Evidence, Violation
from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    RunClaimed,
    RunPaused,
    RunSubmitted,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.terms import Terms

__all__ = ["ToolCall", "check_bodies", "check_tools", "checked_by_loop", "tool_calls"]


@dataclass(slots=True)
class ToolCall:
    """One call as the log shows it: the entries of its starts, its interrupts, its results, and of what hooks decided after a start."""

    verdicts: list[Entry] = field(default_factory=list[Entry])
    starts: list[Entry] = field(default_factory=list[Entry])
    interruptions: list[Entry] = field(default_factory=list[Entry])
    results: list[Entry] = field(default_factory=list[Entry])


def tool_calls(entries: Sequence[Entry]) -> dict[str, ToolCall]:
    """The calls by their name: the effect key without the run. A provider may give one id in several messages.

    A call that was never started has no effect key; its name is its id, and the place of its message.
    """
    calls: dict[str, ToolCall] = defaultdict(ToolCall)
    messages = 0
    names: dict[int, str] = {}  # of the calls of the last message, by their index in it
    for entry in entries:
        record = entry.record
        if isinstance(record, ToolStarted):
            name = names[record.index] = _name(record.effect_key)
            calls[name].starts.append(entry)
        elif isinstance(record, ToolInterrupted):
            calls[names.get(record.index, record.tool_use["toolUseId"])].interruptions.append(entry)
        elif isinstance(record, ToolDecided) and record.index in names:
            calls[names[record.index]].verdicts.append(entry)
        elif isinstance(record, ToolFinished):
            unstarted = f"{record.result['toolUseId']} of message {messages}"
            calls[names.get(record.index, unstarted)].results.append(entry)
        elif isinstance(record, MessageAdded) and record.origin == "model":
            messages, names = messages + 1, {}
    return calls


def _name(effect_key: str) -> str:
    return effect_key.partition("/")[2]


def check_tools(evidence: Evidence) -> list[Violation]:
    """Check that each owner starts a call at most once, never after its result, and that the message has one result per call, in order."""
    run, found = evidence.plan.run, list[Violation]()
    by_loop = checked_by_loop(evidence.entries)
    for name, call in tool_calls(evidence.entries).items():
        owners: Counter[int] = Counter()
        for start in call.starts:
            if any(result.seq < start.seq for result in call.results):
                found.append(Violation("finished_rerun", run, start.seq, f"call {name} already has its result"))
            if owners[start.epoch] > sum(_drops(verdict, before=start) for verdict in call.verdicts):
                found.append(Violation("rerun", run, start.seq, f"owner {start.epoch} starts call {name} twice"))
            owners[start.epoch] += 1
        found += [Violation("result", run, one.seq, f"call {name} already has a result") for one in call.results[1:]]
        for result in call.results:
            if _ran(result, by_loop) and not any(start.seq < result.seq for start in call.starts):
                found.append(Violation("unstarted", run, result.seq, f"call {name} has a result but no start"))
    return [*found, *_decided(evidence), *_batches(evidence)]


def _decided(evidence: Evidence) -> list[Violation]:
    """Check that a hook decides once about a call, until the call asks a human or is to run again."""
    found: list[Violation] = []
    decided: set[int] = set()
    for entry in evidence.entries:
        record = entry.record
        if isinstance(record, MessageAdded):
            decided.clear()
        elif isinstance(record, ToolInterrupted) or (isinstance(record, ToolDecided) and record.verdict == "retry"):
            decided.discard(record.index)
        elif isinstance(record, ToolDecided):
            if record.index in decided:
                what = f"a hook decides again about call {record.index}"
                found.append(Violation("verdict", evidence.plan.run, entry.seq, what))
            decided.add(record.index)
    return found


def _drops(verdict: Entry, *, before: Entry) -> bool:
    """Whether a hook had dropped the call's result before this start, so that its owner starts it once more."""
    drops = isinstance(verdict.record, ToolDecided) and verdict.record.verdict == "retry"
    return drops and verdict.epoch == before.epoch and verdict.seq < before.seq


def checked_by_loop(entries: Sequence[Entry]) -> str:
    """The tool of the structured output, whose calls have no body; empty if the run is asked for none."""
    first = entries[0].record if entries else None
    output = Terms.read(first.options).output if isinstance(first, RunSubmitted) else None
    return "" if output is None else output.name


def _ran(result: Entry, by_loop: str) -> bool:
    """Whether a body gave this result."""
    record = result.record
    return isinstance(record, ToolFinished) and record.result["status"] == "success" and record.name != by_loop


def _batches(evidence: Evidence) -> list[Violation]:
    """Check that the message for the model has each call's result once, in the order of the calls.

    Those that were there when the run paused come before the others.
    """
    found: list[Violation] = []
    wanted: list[ToolUse] = []
    results: dict[str, object] = {}
    for entry in evidence.entries:
        record = entry.record
        if isinstance(record, ToolFinished):
            results.setdefault(record.result["toolUseId"], record.result)
        elif isinstance(record, MessageAdded) and record.origin == "model":
            results = {}
            wanted = [block["toolUse"] for block in record.message.get("content", []) if "toolUse" in block]
        elif isinstance(record, RunPaused):
            wanted.sort(key=lambda call: call["toolUseId"] not in results)
        elif isinstance(record, MessageAdded) and record.origin == "tools":
            told = [block.get("toolResult") for block in record.message.get("content", [])]
            if told != [results.get(call["toolUseId"]) for call in wanted]:
                what = "the message for the model does not have the results of its calls in their order"
                found.append(Violation("result", evidence.plan.run, entry.seq, what))
    return found


@dataclass(frozen=True, slots=True)
class _Ownership:
    epoch: int
    worker: str
    since: int
    """When it made the claim record; it owned the run then or later."""
    surely_by: int | None
    """When it wrote its first record after the claim; it owned the run by then."""

    def is_of(self, pid: int) -> bool:
        return f"-{pid}-" in self.worker


def _ownerships(entries: Sequence[Entry]) -> list[_Ownership]:
    """All of them; a worker's name contains its process id between dashes."""
    found: list[_Ownership] = []
    for place, entry in enumerate(entries):
        if isinstance(entry.record, RunClaimed):
            following = entries[place + 1] if place + 1 < len(entries) else None
            surely_by = following.record.at if following is not None and following.epoch == entry.epoch else None
            found.append(_Ownership(entry.epoch, entry.record.worker, entry.record.at, surely_by))
    return found


def check_bodies(evidence: Evidence) -> list[Violation]:
    """Compare the bodies' own traces with the log: all ran on one machine, with one clock."""
    calls = tool_calls(evidence.entries)
    owners, by_loop = _ownerships(evidence.entries), checked_by_loop(evidence.entries)
    bodies: dict[str, list[Begun]] = defaultdict(list)
    for begun in evidence.begun:
        bodies[_name(begun.key)].append(begun)
    found: list[Violation] = []
    for name, begun in bodies.items():
        found += _check_call(evidence.plan.run, name, calls.get(name) or ToolCall(), begun, owners)
    for name, call in calls.items():
        told = bool(call.interruptions)  # by a human, if its worker died before the body started
        if any(_ran(result, by_loop) for result in call.results) and name not in bodies and not told:
            what = f"call {name} has a result, but no body ran"
            found.append(Violation("result", evidence.plan.run, call.results[0].seq, what))
    return found


def _check_call(
    run: str, name: str, call: ToolCall, begun: Sequence[Begun], owners: Sequence[_Ownership]
) -> list[Violation]:
    found: list[Violation] = []
    epochs: set[int] = set()
    for body in begun:

        def flaw(kind: str, what: str, body: Begun = body) -> None:
            place = call.starts[0].seq if call.starts else None
            found.append(Violation(kind, run, place, f"call {name} in process {body.pid} at {body.at}: {what}"))

        if body.key != f"{run}/{name}":
            flaw("rerun", f"its effect key is {body.key}")
        if body.stored is False:
            flaw("unstarted", "it found no tool.started of this call in the log")
        epoch = _owner_of(body, owners)
        if epoch is None or epoch not in [start.epoch for start in call.starts]:
            flaw("unstarted", f"owner {epoch} has no tool.started of this call")
            continue
        if body.input != _input(call.starts[0]):
            flaw("input", f"it ran on {body.input}, and the model had given {_input(call.starts[0])}")
        if epoch in epochs:
            flaw("rerun", f"owner {epoch} had already run it")
        epochs.add(epoch)
        if any(body.at > result.record.at and result.epoch <= epoch for result in call.results):
            flaw("finished_rerun", "the call already has its result")
        late = [one.epoch for one in owners if one.epoch > epoch and one.surely_by is not None]
        late = [one.epoch for one in owners if one.epoch in late and body.at > (one.surely_by or 0)]
        if late:
            flaw("fenced", f"owner {epoch} ran it when owner {late[0]} had the run")
    return found


def _input(start: Entry) -> object:
    return start.record.tool_use["input"] if isinstance(start.record, ToolStarted) else None


def _owner_of(body: Begun, owners: Sequence[_Ownership]) -> int | None:
    """The last ownership of the body's process that had started when the body did."""
    mine = [one.epoch for one in owners if one.is_of(body.pid) and one.since <= body.at]
    return mine[-1] if mine else None
