"""Logs of the real loop, taken over at any record that a test names, and ways to break them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.agents import AGENTS, TRACES
from chaos.check import check_run
from chaos.check_views import seen_event, seen_record
from chaos.collector import read_begun
from chaos.evidence import Evidence, View
from chaos.plan import Plan, human_response, prompt
from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    CheckedRecord,
    Entry,
    ModelChunk,
    Record,
    RunClaimed,
    RunFailed,
    RunPaused,
    RunSubmitted,
    ToolFinished,
    now_ms,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush

__all__: list[str] = []


CANCEL = Signal(signal_id="c1", kind="cancel")


WORKER = f"host-{os.getpid()}-abc"


Change = Callable[[Evidence], Evidence]


def plan(run: str = "0-aaaaaa", **more: Any) -> Plan:
    wanted: dict[str, Any] = {
        "agent": "together",
        "words": 4,
        "pause_ms": 0,
        "batches": (("swift", "threaded"),),
        **more,
    }
    return Plan(run=run, scenario="test", **wanted)


async def made(
    what: Plan,
    *cuts: int,
    folder: Path,
    history: Sequence[Message] = (),
    said: Mapping[int, Signal] | None = None,
) -> Evidence:
    """What the loop writes. Its owner is lost after each record of `cuts`; `said`: the signals sent after records.

    Where it pauses its questions are answered, and another owner goes on.
    """
    TRACES.folder = folder
    (spec,) = [agent.spec for agent in AGENTS if agent.name == what.agent]
    entries = [Entry(1, 0, RunSubmitted(at=now_ms(), agent=what.agent, prompt=prompt(what), session=what.session))]
    sent: list[Signal] = []
    responses: list[Signal] = []
    lost_at = list(cuts)
    while entries[-1].record.type not in TERMINAL_TYPES:
        epoch, cut = entries[-1].epoch + 1, lost_at.pop(0) if lost_at else None
        entries.append(Entry(len(entries) + 1, epoch, RunClaimed(at=a_moment_later(), worker=WORKER)))
        state, control = fold(entries, history=history), Control()
        control.deliver(responses)
        sent += responses
        partial, head = open_chunks(state, entries), len(entries)
        loop = Loop(spec, run_id=what.run, state=state, head=head, epoch=epoch, control=control, partial=partial)
        async with aclosing(loop.records()) as items:
            async for item in items:
                if isinstance(item, Flush):
                    continue
                entries.append(Entry(len(entries) + 1, epoch, record_of(item)))
                if said and len(entries) in said:
                    sent.append(said[len(entries)])
                    control.deliver(sent[-1:])
                if cut is not None and len(entries) >= cut:
                    break
        last = entries[-1].record
        asked = last.interrupts if isinstance(last, RunPaused) else []
        responses = [Signal(f"r{epoch}", "respond", {one["id"]: human_response(one) for one in asked})] if asked else []
    return seen(
        Evidence(
            plan=what,
            entries=entries,
            state=entries[-1].record.type.removeprefix("run."),
            begun=read_begun(folder / what.run),
            signals={signal.signal_id: signal.kind for signal in sent},
            acknowledged=[signal.signal_id for signal in sent],
        )
    )


def a_moment_later() -> int:
    """All owners are this process, so their times must differ."""
    before = now_ms()
    while now_ms() == before:
        pass
    return now_ms()


def seen(evidence: Evidence) -> Evidence:
    """With views that saw exactly the log."""
    projection = Projection(evidence.plan.run)
    events = [seen_event(event) for entry in evidence.entries for event in projection.feed(entry)]
    last = evidence.entries[-1].record if evidence.entries else None
    failed = last.error_type if isinstance(last, RunFailed) else None
    records = [seen_record(entry) for entry in evidence.entries]
    views = [
        View(name="a", what="records", seen=records, failed=None),
        View(name="b", what="events", seen=events, failed=failed),
    ]
    return replace(evidence, views=views)


def kinds(evidence: Evidence) -> set[str]:
    return {violation.kind for violation in check_run(evidence)}


def place(evidence: Evidence, kind: type[Record], which: int = 0) -> int:
    """The place of that record in the list."""
    return [n for n, entry in enumerate(evidence.entries) if isinstance(entry.record, kind)][which]


def steer(text: str) -> Signal:
    return Signal(signal_id=text, kind="steer", body=text)


def numbered(evidence: Evidence, entries: Sequence[Entry]) -> Evidence:
    """A log of these entries, dense, seen by its viewers as it is: only the entries are wrong."""
    return seen(replace(evidence, entries=[entry._replace(seq=n) for n, entry in enumerate(entries, 1)]))


def without(kind: type[Record], which: int = 0) -> Change:
    def change(evidence: Evidence) -> Evidence:
        at = place(evidence, kind, which)
        return numbered(evidence, [*evidence.entries[:at], *evidence.entries[at + 1 :]])

    return change


def with_more(make: Callable[[Evidence], tuple[int, Entry]]) -> Change:
    def change(evidence: Evidence) -> Evidence:
        at, entry = make(evidence)
        return numbered(evidence, [*evidence.entries[:at], entry, *evidence.entries[at:]])

    return change


def again(kind: type[Record], which: int = 0, *, after: type[Record] | None = None, epoch: int | None = None) -> Change:
    """The record a second time, right after itself or the last record of another kind."""

    def make(evidence: Evidence) -> tuple[int, Entry]:
        at = place(evidence, kind, which)
        to = at if after is None else place(evidence, after, -1)
        written = evidence.entries[to].epoch if epoch is None else epoch
        return to + 1, evidence.entries[at]._replace(epoch=written)

    return with_more(make)


def changed(record: Record, **fields: Any) -> Record:
    """The record with other fields."""
    if isinstance(record, ModelChunk):
        return ModelChunk(at=fields.get("at", record.at), chunk=fields.get("chunk", record.chunk))
    assert isinstance(record, CheckedRecord)
    return record.model_copy(update=fields)


def instead(kind: type[Record], which: int = 0, **fields: Any) -> Change:
    """The record with other fields."""

    def change(evidence: Evidence) -> Evidence:
        at = place(evidence, kind, which)
        entry = evidence.entries[at]
        entry = entry._replace(record=changed(entry.record, **fields))
        return numbered(evidence, [*evidence.entries[:at], entry, *evidence.entries[at + 1 :]])

    return change


def result_changed(evidence: Evidence, **fields: Any) -> Evidence:
    record = evidence.entries[place(evidence, ToolFinished)].record
    assert isinstance(record, ToolFinished)
    return instead(ToolFinished, result={**record.result, **fields})(evidence)
