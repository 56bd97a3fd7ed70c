"""The checker of the chaos finds every kind of broken promise, and none in a log of the loop, cut at any record."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaos.check import check_run
from chaos.evidence import KINDS, Begun, Evidence
from chaos.plan import prompt
from chaos.tally import Injuries, Tally, takeovers
from playhead.runtime.core.records import (
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
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolStarted,
    now_ms,
)
from tests.unit.chaos.chaos_logs import (
    CANCEL,
    Change,
    again,
    changed,
    instead,
    kinds,
    made,
    numbered,
    place,
    plan,
    result_changed,
    seen,
    steer,
    with_more,
    without,
)

__all__: list[str] = []

pytestmark = pytest.mark.anyio


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
    """A chunk of owner 1 after the claim of owner 2, as a bare XADD would take it."""
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
    ("an owner writes after its successor's claim", {"fenced", "chain"}, with_more(fenced_chunk)),
    ("an owner writes without a claim", {"fenced"}, without(RunClaimed, 1)),
    ("an owner claims twice", {"fenced"}, again(RunClaimed, 1)),
    (
        "an owner writes on after it released the run",
        {"fenced"},
        with_more(lambda e: (7, Entry(0, 1, RunHandedOver(at=1, worker="w")))),
    ),
    ("a start is missing", {"unstarted"}, without(ToolStarted)),
    ("a body found no start", {"unstarted"}, body(stored=False)),
    ("a body of a stranger", {"unstarted"}, body(pid=1)),
    ("a finished call starts again", {"finished_rerun", "rerun"}, again(ToolStarted, after=ToolFinished)),
    (
        "a finished body runs again",
        {"finished_rerun", "rerun"},
        bodies(lambda b: [*b, b[0]._replace(at=b[0].at + 9999)]),
    ),
    ("an owner starts a call twice", {"rerun"}, again(ToolStarted)),
    ("a body runs twice under one start", {"rerun"}, bodies(lambda begun: [begun[0], *begun])),
    ("a body gets another effect key", {"rerun"}, body(key="other")),
    ("a body gets other input", {"input"}, body(input={})),
    ("a call has two results", {"result"}, again(ToolFinished)),
    ("a call has no result", {"result"}, without(ToolFinished)),
    ("a result without a body", {"result"}, bodies(lambda begun: begun[1:])),
    ("the model is told the results in another order", {"result", "chain"}, results_swapped),
    ("a call fails for no reason", {"result"}, lambda e: result_changed(e, status="error")),
    ("a result is another's", {"result"}, lambda e: result_changed(e, content=[{"text": "swift 00000000"}])),
    ("a message is paid for twice", {"paid_again"}, again(ModelStarted, 0, after=MessageAdded)),
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
    ("the result is not the last message", {"chain"}, instead(RunCompleted, result={"message": {"content": []}})),
    ("there is no end", {"hung"}, without(RunCompleted)),
    ("there are two ends", {"end"}, again(RunCompleted)),
    ("a record follows the end", {"end"}, again(CycleStarted, after=RunCompleted)),
    ("the state is another", {"end"}, lambda evidence: replace(evidence, state="failed")),
    ("cancelled without a signal", {"end"}, lambda evidence: ended_with(evidence, RunCancelled(at=1, result={}))),
    (
        "failed for no reason",
        {"end"},
        lambda evidence: ended_with(evidence, RunFailed(at=1, error_type="E", message="m")),
    ),
    ("a signal that was not sent", {"signal"}, with_more(signal_taken)),
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


def answer_changed(evidence: Evidence) -> Evidence:
    record = evidence.entries[place(evidence, MessageAdded, -1)].record
    assert isinstance(record, MessageAdded)
    return instead(MessageAdded, -1, message={**record.message, "content": [{"text": "other"}]})(evidence)


def ended_with(evidence: Evidence, record: Record) -> Evidence:
    log = [*evidence.entries[:-1], evidence.entries[-1]._replace(record=record)]
    return replace(numbered(evidence, log), state=record.type.removeprefix("run."))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A run without a breach, whose first owner was lost in the middle of the first message."""
    evidence = anyio.run(partial(made, plan(), 8, folder=tmp_path_factory.mktemp("whole")))
    assert check_run(evidence) == []
    return evidence


@pytest.mark.parametrize(("name", "expected", "change"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_each_kind_of_breach_is_found(whole: Evidence, name: str, expected: set[str], change: Change) -> None:
    found = kinds(change(whole))
    assert expected <= found, name
    assert {"reader", "gap", "duplicate", "unlogged", "order"} & found <= expected, "nothing else is blamed"


@pytest.mark.exhaustive
@pytest.mark.parametrize("agent", ["together", "in_turn", "continuing"])
async def test_every_cut_of_a_log_of_the_real_loop_passes(tmp_path: Path, agent: str) -> None:
    whole = await made(plan(agent=agent), folder=tmp_path)
    for cut in range(3, len(whole.entries) - 1):
        taken_over = await made(plan(f"0-{cut:06}", agent=agent), cut, cut + 3, folder=tmp_path)
        assert check_run(taken_over) == [], cut


@pytest.mark.parametrize("agent", ["together", "in_turn", "continuing"])
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


async def test_a_careful_tool_may_fail_after_a_takeover_and_not_otherwise(tmp_path: Path) -> None:
    careful = plan(batches=(("careful",),))
    started = place(await made(careful, folder=tmp_path), ToolStarted) + 1
    lost = await made(replace(careful, run="0-bbbbbb"), started, folder=tmp_path)
    results = [entry.record.result for entry in lost.entries if isinstance(entry.record, ToolFinished)]
    assert [result["status"] for result in results] == ["error"]
    assert check_run(lost) == []
    assert "result" in kinds(result_changed(await made(careful, folder=tmp_path / ".."), status="error"))


async def test_a_call_of_the_structured_output_has_neither_a_start_nor_a_body(tmp_path: Path) -> None:
    whole = await made(plan(batches=(("swift",),)), folder=tmp_path)
    bare = replace(without(ToolStarted)(whole), begun=[])
    assert kinds(bare) == {"unstarted", "result"}
    output = {"name": "swift", "schema": {"type": "object"}}
    assert kinds(instead(RunSubmitted, 0, options={"structured_output": output})(bare)) == set()


async def test_a_body_that_begins_when_another_owner_has_the_run_is_found(tmp_path: Path) -> None:
    whole = await made(plan(batches=(("swift",),)), folder=tmp_path)
    start = place(whole, ToolStarted)
    taken_over = await made(plan("0-bbbbbb", batches=(("swift",),)), start + 1, folder=tmp_path)
    first, second = place(taken_over, RunClaimed, 0), place(taken_over, RunClaimed, 1)
    entries = list(taken_over.entries)
    entries[first] = entries[first]._replace(record=RunClaimed(at=entries[first].record.at, worker="host-77-x"))
    entries[second:] = [
        entry._replace(record=changed(entry.record, at=entry.record.at + 1000)) for entry in entries[second:]
    ]
    (ran,) = [body._replace(at=body.at + 1000) for body in taken_over.begun]
    before = replace(taken_over, begun=[ran._replace(pid=77, at=entries[second].record.at - 500), ran])
    assert check_run(numbered(before, entries)) == []
    woken = replace(before, begun=[ran, ran._replace(pid=77, at=ran.at + 500)])
    assert "fenced" in kinds(numbered(woken, entries))


async def test_a_call_that_went_on_is_held_to_every_word(tmp_path: Path) -> None:
    whole = await made(plan(agent="continuing"), 8, folder=tmp_path)
    tally = Tally()
    tally.add(whole)
    assert (tally.calls_continued, tally.calls_again) == (1, 0)
    assert check_run(whole) == []
    assert {"chain", "text"} <= kinds(without(ModelChunk, 2)(whole))
    assert {"chain", "text"} <= kinds(again(ModelChunk, 2)(whole))
    assert "retraction" in kinds(instead(ModelStarted, 1, continues=False)(whole))
    assert "retraction" in kinds(instead(ModelStarted, 0, continues=True)(whole))


async def test_a_run_that_is_claimed_before_its_wait_is_over_is_found(tmp_path: Path) -> None:
    evidence = await made(plan(), 8, folder=tmp_path)
    at = place(evidence, RunClaimed, 1)
    for delay, found in ((3600.0, {"order"}), (0.0, set[str]())):
        over = evidence.entries[at - 1]._replace(record=RunHandedOver(at=now_ms(), worker="w", delay=delay))
        moved = numbered(evidence, [*evidence.entries[:at], over, *evidence.entries[at:]])
        assert kinds(moved) - {"retraction"} == found


async def test_a_whole_answer_that_is_withdrawn_is_found(tmp_path: Path) -> None:
    evidence = await made(plan(), folder=tmp_path)
    call, added = place(evidence, ModelStarted), place(evidence, MessageAdded, 1)
    entries, epoch = evidence.entries, evidence.entries[added].epoch
    again = [RunClaimed(at=0, worker="w2"), ModelRetried(at=0, supersedes=(call + 1, added), reason="it died")]
    withdrawn = [Entry(0, epoch + 1, record) for record in again]
    repeated = [entry._replace(epoch=epoch + 1) for entry in entries[call:]]
    assert "paid_again" in kinds(numbered(evidence, [*entries[:added], *withdrawn, *repeated]))


async def test_the_tally_counts_what_takeovers_cost(tmp_path: Path) -> None:
    evidence = await made(plan(), 8, folder=tmp_path)
    tally = Tally()
    tally.add(evidence)
    assert (tally.crashes, tally.hand_overs, tally.calls_again, tally.chunks_again) == (1, 0, 1, 1)
    assert (tally.runs, tally.ends) == ({"test": 1}, {"run.completed": 1})
    (change,) = takeovers("0-aaaaaa", evidence.entries)
    kill = change.claimed_at
    delay = (change.next_at or 0) - kill
    killed = {os.getpid(): [kill]}
    assert tally.after_kills(Injuries({}, killed, [])) == [("0-aaaaaa", 0, delay, True, 1)]
    assert tally.after_kills(Injuries({}, killed, [(kill - 9, kill)])) == [("0-aaaaaa", 0, delay, False, 1)]
    assert tally.after_kills(Injuries({}, {1: [kill]}, [])) == []


def test_the_tally_counts_losses_in_a_row_until_the_run_gets_on() -> None:
    def claimed(worker: str) -> Record:
        return RunClaimed(at=0, worker=f"h-1-{worker}")

    call, said = (
        ModelStarted(at=0, attempt=1),
        MessageAdded(at=0, origin="model", message={"role": "assistant", "content": []}),
    )
    over = RunHandedOver(at=0, worker="h-1-c")
    log = [
        claimed("a"),
        call,
        claimed("b"),
        call,
        claimed("c"),
        over,
        claimed("d"),
        call,
        said,
        call,
        claimed("e"),
        call,
    ]
    changes = takeovers("0-aaaaaa", [Entry(seq, 1, record) for seq, record in enumerate(log, 1)])
    assert [(change.handed_over, change.losses) for change in changes] == [
        (False, 1),
        (False, 2),
        (True, 2),
        (False, 1),
    ]


def test_every_kind_of_violation_is_made_by_some_test() -> None:
    found = set[str]().union(*(expected for _, expected, _ in BROKEN), ["session"])
    outside = {"foreign", "worker"}  # what is not a log, and processes: the chaos itself finds those
    outside |= {"request", "answer"}  # of the fake provider: test_chaos_answers.py makes them
    outside |= {"verdict"}  # of hooks: test_chaos_hooks.py makes it
    assert found == KINDS.keys() - outside
