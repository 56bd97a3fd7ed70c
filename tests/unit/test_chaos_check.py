"""The checker of the chaos finds every kind of broken promise, and none in a log of the real loop, wherever it was cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.agents import AGENTS, TRACES
from bench.chaos.check import check_run, check_session
from bench.chaos.check_views import seen_event, seen_record
from bench.chaos.evidence import KINDS, Begun, Evidence, View
from bench.chaos.load import read_begun
from bench.chaos.plan import Plan, human_answer, prompt
from bench.chaos.tally import Injuries, Tally, takeovers
from playhead.runtime.control import Control
from playhead.runtime.events import Projection
from playhead.runtime.log.base import Signal
from playhead.runtime.loop import Commit, Loop
from playhead.runtime.records import (
    TERMINAL_TYPES,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    now_ms,
)
from playhead.runtime.state import fold, open_chunks
from playhead.runtime.types import Message

__all__: list[str] = []

pytestmark = pytest.mark.anyio

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
    """What the real loop leaves behind, its owner lost behind each record of `cuts`, `said` to it behind its keys.

    Where it pauses its questions are answered, and another owner goes on.
    """
    TRACES.folder = folder
    (spec,) = [agent.spec for agent in AGENTS if agent.name == what.agent]
    entries = [Entry(1, 0, RunSubmitted(at=now_ms(), agent=what.agent, prompt=prompt(what), session=what.session))]
    sent: list[Signal] = []
    answers: list[Signal] = []
    lost_at = list(cuts)
    while entries[-1].record.type not in TERMINAL_TYPES:
        epoch, cut = entries[-1].epoch + 1, lost_at.pop(0) if lost_at else None
        entries.append(Entry(len(entries) + 1, epoch, RunClaimed(at=a_moment_later(), worker=WORKER)))
        state, control = fold(entries, history=history), Control()
        control.deliver(answers)
        sent += answers
        partial, head = open_chunks(state, entries), len(entries)
        loop = Loop(spec, run_id=what.run, state=state, head=head, epoch=epoch, control=control, partial=partial)
        async with aclosing(loop.records()) as items:
            async for item in items:
                if isinstance(item, Commit):
                    continue
                entries.append(Entry(len(entries) + 1, epoch, item))
                if said and len(entries) in said:
                    sent.append(said[len(entries)])
                    control.deliver(sent[-1:])
                if cut is not None and len(entries) >= cut:
                    break
        last = entries[-1].record
        asked = last.interrupts if isinstance(last, RunPaused) else []
        answers = [Signal(f"r{epoch}", "respond", {one["id"]: human_answer(one) for one in asked})] if asked else []
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
    """All owners are this process: by the clock at least they must be apart."""
    before = now_ms()
    while now_ms() == before:
        pass
    return now_ms()


def seen(evidence: Evidence) -> Evidence:
    """With the views of those who saw exactly the log."""
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
    """Where in the list that record stands."""
    return [n for n, entry in enumerate(evidence.entries) if isinstance(entry.record, kind)][which]


def steer(text: str) -> Signal:
    return Signal(signal_id=text, kind="steer", body=text)


def numbered(evidence: Evidence, entries: Sequence[Entry]) -> Evidence:
    """A log of these entries, dense, seen by its viewers as it is: only what it says is wrong."""
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


def again(
    kind: type[Record], which: int = 0, *, behind: type[Record] | None = None, epoch: int | None = None
) -> Change:
    """The record a second time, right behind itself or the last record of another kind."""

    def make(evidence: Evidence) -> tuple[int, Entry]:
        at = place(evidence, kind, which)
        to = at if behind is None else place(evidence, behind, -1)
        written = evidence.entries[to].epoch if epoch is None else epoch
        return to + 1, evidence.entries[at]._replace(epoch=written)

    return with_more(make)


def instead(kind: type[Record], which: int = 0, **fields: Any) -> Change:
    """The record with other fields."""

    def change(evidence: Evidence) -> Evidence:
        at = place(evidence, kind, which)
        entry = evidence.entries[at]
        entry = entry._replace(record=entry.record.model_copy(update=fields))
        return numbered(evidence, [*evidence.entries[:at], entry, *evidence.entries[at + 1 :]])

    return change


def swapped(first: int, second: int) -> Change:
    """Two of the chunks change places."""

    def change(evidence: Evidence) -> Evidence:
        a, b = place(evidence, ModelChunk, first), place(evidence, ModelChunk, second)
        entries = list(evidence.entries)
        entries[a], entries[b] = entries[b], entries[a]
        return numbered(evidence, entries)

    return change


def unnumbered(change: Callable[[list[Entry]], list[Entry]]) -> Change:
    """The log itself broken, numbers and all."""
    return lambda evidence: seen(replace(evidence, entries=change(list(evidence.entries))))


def bodies(change: Callable[[list[Begun]], list[Begun]]) -> Change:
    return lambda evidence: replace(evidence, begun=change(list(evidence.begun)))


def body(which: int = 0, **fields: Any) -> Change:
    return bodies(lambda begun: [*begun[:which], begun[which]._replace(**fields), *begun[which + 1 :]])


def view(which: int, change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]], **more: Any) -> Change:
    def changed(evidence: Evidence) -> Evidence:
        views = list(evidence.views)
        views[which] = replace(views[which], seen=change(list(views[which].seen)), **more)
        return replace(evidence, views=views)

    return changed


def results_swapped(evidence: Evidence) -> Evidence:
    at = place(evidence, MessageAdded, 2)
    record = evidence.entries[at].record
    assert isinstance(record, MessageAdded)
    message = {**record.message, "content": list(reversed(record.message.get("content", [])))}
    return instead(MessageAdded, 2, message=message)(evidence)


def fenced_chunk(evidence: Evidence) -> tuple[int, Entry]:
    """A chunk of owner 1 behind the claim of owner 2, as a bare XADD would take it."""
    at = place(evidence, ModelChunk, 2)
    return place(evidence, RunClaimed, 1) + 1, evidence.entries[at]._replace(epoch=1)


def signal_taken(evidence: Evidence) -> tuple[int, Entry]:
    record = SignalReceived(at=now_ms(), signal_id="s9", kind="cancel")
    return len(evidence.entries) - 1, Entry(0, evidence.entries[-1].epoch, record)


BROKEN: list[tuple[str, set[str], Change]] = [
    ("a record is missing", {"gap"}, unnumbered(lambda log: [*log[:6], *log[7:]])),
    ("the log is empty", {"gap", "hung"}, unnumbered(lambda log: log[:0])),
    ("the beginning is missing", {"gap", "order"}, unnumbered(lambda log: log[2:])),
    ("a record stands twice", {"duplicate"}, unnumbered(lambda log: [*log[:6], log[5], *log[6:]])),
    ("two records change places", {"order"}, unnumbered(lambda log: [*log[:6], log[7], log[6], *log[8:]])),
    ("an owner writes behind its successor's claim", {"fenced", "chain"}, with_more(fenced_chunk)),
    ("an owner writes without a claim", {"fenced"}, without(RunClaimed, 1)),
    ("an owner claims twice", {"fenced"}, again(RunClaimed, 1)),
    (
        "an owner that let go writes on",
        {"fenced"},
        with_more(lambda e: (7, Entry(0, 1, RunHandedOver(at=1, worker="w")))),
    ),
    ("a start is missing", {"unstarted"}, without(ToolStarted)),
    ("a body found no start", {"unstarted"}, body(stored=False)),
    ("a body of a stranger", {"unstarted"}, body(pid=1)),
    ("a finished call starts again", {"finished_rerun", "rerun"}, again(ToolStarted, behind=ToolFinished)),
    (
        "a finished body runs again",
        {"finished_rerun", "rerun"},
        bodies(lambda b: [*b, b[0]._replace(at=b[0].at + 9999)]),
    ),
    ("an owner starts a call twice", {"rerun"}, again(ToolStarted)),
    ("a body runs twice under one start", {"rerun"}, bodies(lambda begun: [begun[0], *begun])),
    ("a body gets another effect key", {"rerun"}, body(key="other")),
    ("a call has two results", {"result"}, again(ToolFinished)),
    ("a call has no result", {"result"}, without(ToolFinished)),
    ("a result without a body", {"result"}, bodies(lambda begun: begun[1:])),
    ("the model is told the results in another order", {"result", "chain"}, results_swapped),
    ("a call fails for no reason", {"result"}, lambda e: result_changed(e, status="error")),
    ("a result is another's", {"result"}, lambda e: result_changed(e, content=[{"text": "swift 00000000"}])),
    ("an answer is paid for twice", {"paid_again"}, again(ModelStarted, 0, behind=MessageAdded)),
    ("a call that died is not withdrawn", {"retraction", "text"}, without(ModelRetried)),
    ("too little is withdrawn", {"retraction", "text"}, instead(ModelRetried, supersedes=(5, 6))),
    ("too much is withdrawn", {"retraction"}, instead(ModelRetried, supersedes=(5, 99))),
    ("another call is withdrawn", {"retraction"}, instead(ModelRetried, supersedes=(4, 8))),
    ("nothing was there to withdraw", {"retraction"}, again(ModelRetried)),
    ("two words change places", {"chain", "text"}, swapped(-6, -7)),
    ("a word is missing", {"chain", "text"}, without(ModelChunk, -6)),
    ("a word comes twice", {"chain", "text"}, again(ModelChunk, -6)),
    (
        "a word of another run",
        {"chain", "text"},
        instead(ModelChunk, -6, chunk={"contentBlockDelta": {"delta": {"text": "x "}}}),
    ),
    ("the prompt is another's", {"chain"}, instead(RunSubmitted, prompt=prompt(plan("0-bbbbbb")))),
    ("the model is not told its prompt", {"chain"}, without(MessageAdded, 0)),
    ("the message is not what was streamed", {"text", "chain"}, lambda e: answer_changed(e)),
    ("the result is not the last answer", {"chain"}, instead(RunCompleted, result={"message": {"content": []}})),
    ("there is no end", {"hung"}, without(RunCompleted)),
    ("there are two ends", {"end"}, again(RunCompleted)),
    ("something stands behind the end", {"end"}, again(CycleStarted, behind=RunCompleted)),
    ("the state is another", {"end"}, lambda evidence: replace(evidence, state="failed")),
    ("cancelled by nobody", {"end"}, lambda evidence: ended_with(evidence, RunCancelled(at=1, result={}))),
    (
        "failed for no reason",
        {"end"},
        lambda evidence: ended_with(evidence, RunFailed(at=1, error_type="E", message="m")),
    ),
    ("a signal that nobody sent", {"signal"}, with_more(signal_taken)),
    ("a viewer misses a record", {"gap"}, view(0, lambda saw: saw[:-1])),
    ("a viewer misses an event", {"gap"}, view(1, lambda saw: [*saw[:3], *saw[4:]])),
    ("a viewer sees a record twice", {"duplicate"}, view(0, lambda saw: [*saw[:3], saw[2], *saw[3:]])),
    ("a viewer sees an event twice", {"duplicate"}, view(1, lambda saw: [*saw, saw[-1]])),
    ("a viewer sees events out of order", {"order"}, view(1, lambda saw: [saw[1], saw[0], *saw[2:]])),
    ("a viewer sees what is not there", {"unlogged"}, view(0, lambda saw: [*saw, ("99-1", "00")])),
    ("a viewer sees something else", {"unlogged"}, view(0, lambda saw: [(saw[0][0], "00"), *saw[1:]])),
    ("a viewer is stopped by an error", {"reader"}, view(0, lambda saw: saw, error="GapError: …")),
    ("a viewer is told of a failure", {"reader"}, view(1, lambda saw: saw, failed="ValueError")),
]


def result_changed(evidence: Evidence, **fields: Any) -> Evidence:
    record = evidence.entries[place(evidence, ToolFinished)].record
    assert isinstance(record, ToolFinished)
    return instead(ToolFinished, result={**record.result, **fields})(evidence)


def answer_changed(evidence: Evidence) -> Evidence:
    record = evidence.entries[place(evidence, MessageAdded, -1)].record
    assert isinstance(record, MessageAdded)
    return instead(MessageAdded, -1, message={**record.message, "content": [{"text": "other"}]})(evidence)


def ended_with(evidence: Evidence, record: Record) -> Evidence:
    log = [*evidence.entries[:-1], evidence.entries[-1]._replace(record=record)]
    return replace(numbered(evidence, log), state=record.type.removeprefix("run."))


@pytest.mark.parametrize(("name", "expected", "change"), BROKEN, ids=[name for name, _, _ in BROKEN])
async def test_each_kind_of_breach_is_found(tmp_path: Path, name: str, expected: set[str], change: Change) -> None:
    whole = await made(plan(), 8, folder=tmp_path)  # the owner was lost in the middle of the first answer
    assert check_run(whole) == []
    found = kinds(change(whole))
    assert expected <= found, name
    assert {"reader", "gap", "duplicate", "unlogged", "order"} & found <= expected, "nothing else is blamed"


@pytest.mark.parametrize("agent", ["together", "in_turn", "going_on"])
async def test_every_cut_of_a_log_of_the_real_loop_passes(tmp_path: Path, agent: str) -> None:
    whole = await made(plan(agent=agent), folder=tmp_path)
    for cut in range(3, len(whole.entries) - 1):
        taken_over = await made(plan(f"0-{cut:06}", agent=agent), cut, cut + 3, folder=tmp_path)
        assert check_run(taken_over) == [], cut


@pytest.mark.parametrize("agent", ["together", "in_turn", "going_on"])
async def test_every_kind_of_run_passes(tmp_path: Path, agent: str) -> None:
    tools = ("swift", "threaded", "careful", "talking")
    several = [
        await made(plan("0-aaaaaa", agent=agent, batches=()), folder=tmp_path),
        await made(plan("0-bbbbbb", agent=agent, batches=(tools, ("swift",))), folder=tmp_path),
        await made(plan("0-cccccc", agent=agent, fails=True), folder=tmp_path),
        await made(plan("0-ffffff", agent=agent, batches=(("asking", "swift", "asking"),)), 19, folder=tmp_path),
        await made(plan("0-gggggg", agent=agent), folder=tmp_path, said={5: steer("a"), 9: steer("b")}),
        await made(plan("0-dddddd", agent=agent), folder=tmp_path, said={7: CANCEL}),
        await made(plan("0-eeeeee", agent=agent), 14, folder=tmp_path, said={18: CANCEL}),
    ]
    assert [violation for evidence in several for violation in check_run(evidence)] == []
    ends = [evidence.entries[-1].record.type for evidence in several]
    assert set(ends) == TERMINAL_TYPES


async def test_a_cancel_that_counts_twice_is_found(tmp_path: Path) -> None:
    whole = await made(plan(), folder=tmp_path, said={7: CANCEL})
    assert check_run(whole) == []
    assert kinds(again(SignalReceived)(whole)) == {"signal"}


QUESTIONS: list[tuple[str, Change]] = [
    ("the run waits for nothing", instead(RunPaused, interrupts=[])),
    ("an answer is missing", without(SignalReceived)),
    ("an answer counts twice", lambda e: with_more(lambda e: second_answer(e))(e)),
    ("the answer is to no question", instead(SignalReceived, body={"other": 1})),
    ("an answer was sent by nobody", lambda evidence: replace(evidence, signals={})),
    ("the run goes on too soon", again(RunResumed, behind=RunPaused, epoch=2)),
    ("the call begins before it is answered", again(ToolStarted, behind=RunPaused, epoch=2)),
    (
        "an answer was acknowledged and is lost",
        lambda evidence: replace(evidence, acknowledged=["r1", "r9"], signals={"r1": "respond", "r9": "cancel"}),
    ),
]


def second_answer(evidence: Evidence) -> tuple[int, Entry]:
    at = place(evidence, SignalReceived)
    entry = evidence.entries[at]
    return at + 1, entry._replace(record=entry.record.model_copy(update={"signal_id": "r0"}))


@pytest.mark.parametrize(("name", "change"), QUESTIONS, ids=[name for name, _ in QUESTIONS])
async def test_a_question_that_is_not_heeded_is_found(tmp_path: Path, name: str, change: Change) -> None:
    whole = await made(plan(batches=(("asking",),)), folder=tmp_path)
    assert check_run(whole) == []
    assert "signal" in kinds(change(whole)), name
    assert ToolInterrupted in {type(entry.record) for entry in whole.entries}


STEERS: list[tuple[str, Change]] = [
    ("what was said is not told", lambda evidence: without(MessageAdded, 2)(evidence)),
    ("it is told before it was said", without(SignalReceived, 0)),
    (
        "they count in another order",
        lambda evidence: replace(evidence, acknowledged=list(reversed(evidence.acknowledged))),
    ),
]


@pytest.mark.parametrize(("name", "change"), STEERS, ids=[name for name, _ in STEERS])
async def test_what_is_said_to_a_run_and_not_heeded_is_found(tmp_path: Path, name: str, change: Change) -> None:
    whole = await made(plan(batches=()), folder=tmp_path, said={7: steer("a"), 8: steer("b")})
    origins = [entry.record.origin for entry in whole.entries if isinstance(entry.record, MessageAdded)]
    assert origins == ["prompt", "model", "steer", "steer", "model"]
    assert check_run(whole) == []
    assert "signal" in kinds(change(whole)), name


async def test_what_a_human_tells_of_an_unknown_outcome_is_the_result(tmp_path: Path) -> None:
    wanted = plan(batches=(("unsure", "unsure", "unsure"),))
    started = place(await made(wanted, folder=tmp_path), ToolStarted, 2) + 1
    lost = [await made(replace(wanted, run=f"0-{n:06}"), started, folder=tmp_path) for n in range(4)]
    assert [violation for evidence in lost for violation in check_run(evidence)] == []
    given = {
        entry.record.result["status"] for e in lost for entry in e.entries if isinstance(entry.record, ToolFinished)
    }
    assert given == {"success", "error"}, "the humans of this test say all there is to say"
    assert "result" in kinds(result_changed(lost[0], content=[{"text": "made up"}], status="success"))


def overdue(at: int) -> Evidence:
    """A run with a deadline of a second that ended with it, `at` milliseconds after its submit."""
    what = plan(deadline_s=1.0)
    submitted = RunSubmitted(at=10_000, agent=what.agent, prompt=prompt(what))
    failed = RunFailed(at=10_000 + at, error_type="DeadlineExceeded", message="too late")
    return seen(Evidence(plan=what, entries=[Entry(1, 0, submitted), Entry(2, 0, failed)], state="failed"))


def test_a_run_may_fail_by_its_deadline_and_not_before() -> None:
    assert check_run(overdue(1200)) == []
    assert kinds(overdue(500)) == {"end"}
    assert kinds(seen(replace(overdue(1200), plan=plan()))) >= {"end"}


async def test_a_careful_tool_may_fail_behind_a_takeover_and_not_otherwise(tmp_path: Path) -> None:
    careful = plan(batches=(("careful",),))
    started = place(await made(careful, folder=tmp_path), ToolStarted) + 1
    lost = await made(replace(careful, run="0-bbbbbb"), started, folder=tmp_path)
    results = [entry.record.result for entry in lost.entries if isinstance(entry.record, ToolFinished)]
    assert [result["status"] for result in results] == ["error"]
    assert check_run(lost) == []
    assert "result" in kinds(result_changed(await made(careful, folder=tmp_path / ".."), status="error"))


async def test_a_body_that_begins_when_another_owner_has_the_run_is_found(tmp_path: Path) -> None:
    whole = await made(plan(batches=(("swift",),)), folder=tmp_path)
    start = place(whole, ToolStarted)
    taken_over = await made(plan("0-bbbbbb", batches=(("swift",),)), start + 1, folder=tmp_path)
    first, second = place(taken_over, RunClaimed, 0), place(taken_over, RunClaimed, 1)
    entries = list(taken_over.entries)
    entries[first] = entries[first]._replace(record=RunClaimed(at=entries[first].record.at, worker="host-77-x"))
    entries[second:] = [
        entry._replace(record=entry.record.model_copy(update={"at": entry.record.at + 1000}))
        for entry in entries[second:]
    ]
    (ran,) = [body._replace(at=body.at + 1000) for body in taken_over.begun]
    before = replace(taken_over, begun=[ran._replace(pid=77, at=entries[second].record.at - 500), ran])
    assert check_run(numbered(before, entries)) == []
    woken = replace(before, begun=[ran, ran._replace(pid=77, at=ran.at + 500)])
    assert "fenced" in kinds(numbered(woken, entries))


async def test_a_call_that_went_on_is_held_to_every_word(tmp_path: Path) -> None:
    whole = await made(plan(agent="going_on"), 8, folder=tmp_path)
    tally = Tally()
    tally.add(whole)
    assert (tally.calls_gone_on, tally.calls_again) == (1, 0)
    assert check_run(whole) == []
    assert {"chain", "text"} <= kinds(without(ModelChunk, 2)(whole))
    assert {"chain", "text"} <= kinds(again(ModelChunk, 2)(whole))
    assert "retraction" in kinds(instead(ModelStarted, 1, continues=False)(whole))
    assert "retraction" in kinds(instead(ModelStarted, 0, continues=True)(whole))


@pytest.fixture
async def session(tmp_path: Path) -> tuple[list[Evidence], list[Message]]:
    """Three runs of one session, and the messages it then holds."""
    runs: list[Evidence] = []
    history: list[Message] = []
    for name in ("0-aaaaaa", "0-bbbbbb", "0-cccccc"):
        runs.append(await made(plan(name, session="s"), folder=tmp_path, history=history))
        history += [entry.record.message for entry in runs[-1].entries if isinstance(entry.record, MessageAdded)]
    return runs, history


SESSIONS: list[tuple[str, Callable[[list[Message]], list[Message]]]] = [
    ("the end is missing", lambda messages: messages[:-1]),
    ("a message is missing", lambda messages: [*messages[:5], *messages[6:]]),
    ("two messages change places", lambda messages: [*messages[:4], messages[5], messages[4], *messages[6:]]),
    ("a message of nobody", lambda messages: [*messages, messages[0]]),
    ("all of it is lost", lambda messages: []),
]


async def test_a_whole_session_passes(session: tuple[list[Evidence], list[Message]]) -> None:
    assert check_session(*session) == []


@pytest.mark.parametrize(("name", "change"), SESSIONS, ids=[name for name, _ in SESSIONS])
async def test_a_broken_session_is_found(
    session: tuple[list[Evidence], list[Message]], name: str, change: Callable[[list[Message]], list[Message]]
) -> None:
    runs, messages = session
    assert {violation.kind for violation in check_session(runs, change(messages))} == {"session"}, name


async def test_a_run_that_began_without_its_sessions_history_is_found(
    session: tuple[list[Evidence], list[Message]],
) -> None:
    runs, messages = session
    assert "chain" in {violation.kind for violation in check_session([runs[1], runs[0], runs[2]], messages)}


async def test_a_session_lacks_nothing_of_a_run_that_no_owner_ended(tmp_path: Path) -> None:
    """A cancel in line ends a run at once: it has added nothing."""
    done = await made(plan(session="s"), folder=tmp_path)
    history = [entry.record.message for entry in done.entries if isinstance(entry.record, MessageAdded)]
    cancelled = plan("0-bbbbbb", session="s")
    records = [
        RunSubmitted(at=1, agent="together", prompt=prompt(cancelled), session="s"),
        SignalReceived(at=1, signal_id="s1", kind="cancel"),
        RunCancelled(at=1, result={}),
    ]
    entries = [Entry(seq, 0, record) for seq, record in enumerate(records, 1)]
    over = seen(Evidence(plan=cancelled, entries=entries, state="cancelled", signals={"s1": "cancel"}))
    assert check_session([done, over], history) == []


async def test_the_tally_counts_what_takeovers_cost(tmp_path: Path) -> None:
    evidence = await made(plan(), 8, folder=tmp_path)
    tally = Tally()
    tally.add(evidence)
    assert (tally.crashes, tally.hand_overs, tally.calls_again, tally.chunks_again) == (1, 0, 1, 1)
    assert (tally.runs, tally.ends) == ({"test": 1}, {"run.completed": 1})
    (change,) = takeovers("0-aaaaaa", evidence.entries)
    kill = change.claimed_at
    behind = (change.next_at or 0) - kill
    killed = {os.getpid(): [kill]}
    assert tally.after_kills(Injuries({}, killed, [])) == [("0-aaaaaa", 0, behind, True)]
    assert tally.after_kills(Injuries({}, killed, [(kill - 9, kill)])) == [("0-aaaaaa", 0, behind, False)]
    assert tally.after_kills(Injuries({}, {1: [kill]}, [])) == []


def test_every_kind_of_violation_is_made_by_some_test() -> None:
    found = set[str]().union(*(expected for _, expected, _ in BROKEN), ["session"])
    outside = {"foreign", "worker"}  # what is no log at all, and processes: the chaos itself tells those
    assert found == KINDS.keys() - outside
