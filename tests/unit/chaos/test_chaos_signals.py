"""What the checker of the chaos finds around a run: signals that count wrongly or are not heeded, and broken sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.check import check_run, check_session
from chaos.evidence import Evidence
from chaos.plan import prompt
from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from tests.unit.chaos.chaos_logs import (
    CANCEL,
    Change,
    again,
    instead,
    kinds,
    made,
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


async def test_a_cancel_that_counts_twice_is_found(tmp_path: Path) -> None:
    whole = await made(plan(), folder=tmp_path, said={7: CANCEL})
    assert check_run(whole) == []
    assert kinds(again(SignalReceived)(whole)) == {"signal"}


QUESTIONS: list[tuple[str, Change]] = [
    ("the run waits for nothing", instead(RunPaused, interrupts=[])),
    ("a response is missing", without(SignalReceived)),
    ("a response counts twice", lambda e: with_more(lambda e: second_response(e))(e)),
    ("the response is to no question", instead(SignalReceived, body={"other": 1})),
    ("a response was not sent", lambda evidence: replace(evidence, signals={})),
    ("the run goes on too soon", again(RunResumed, after=RunPaused, epoch=2)),
    ("the call begins before its response", again(ToolStarted, after=RunPaused, epoch=2)),
    (
        "a response was acknowledged and is lost",
        lambda evidence: replace(evidence, acknowledged=["r1", "r9"], signals={"r1": "respond", "r9": "cancel"}),
    ),
]


def second_response(evidence: Evidence) -> tuple[int, Entry]:
    at = place(evidence, SignalReceived)
    entry = evidence.entries[at]
    assert isinstance(entry.record, SignalReceived)
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
async def test_a_steer_that_is_not_taken_in_is_found(tmp_path: Path, name: str, change: Change) -> None:
    whole = await made(plan(batches=()), folder=tmp_path, said={7: steer("a"), 8: steer("b")})
    origins = [entry.record.origin for entry in whole.entries if isinstance(entry.record, MessageAdded)]
    assert origins == ["prompt", "model", "steer", "steer", "model"]
    assert check_run(whole) == []
    assert "signal" in kinds(change(whole)), name


async def test_a_response_to_an_unknown_outcome_is_the_result(tmp_path: Path) -> None:
    wanted = plan(batches=(("unsure", "unsure", "unsure"),))
    started = place(await made(wanted, folder=tmp_path), ToolStarted, 2) + 1
    lost = [await made(replace(wanted, run=f"0-{n:06}"), started, folder=tmp_path) for n in range(4)]
    assert [violation for evidence in lost for violation in check_run(evidence)] == []
    given = {
        entry.record.result["status"] for e in lost for entry in e.entries if isinstance(entry.record, ToolFinished)
    }
    assert given == {"success", "error"}, "the responses of this test are of both kinds"
    assert "result" in kinds(result_changed(lost[0], content=[{"text": "made up"}], status="success"))


def overdue(by_ms: int) -> Evidence:
    """A run that ended with its deadline, so much later."""
    what = plan(deadline_s=1.0)
    submitted = RunSubmitted(at=10_000, agent=what.agent, prompt=prompt(what))
    failed = RunFailed(at=10_500, error_type="DeadlineExceeded", message="too late")
    entries = [Entry(1, 0, submitted), Entry(2, 0, failed)]
    return seen(Evidence(plan=what, entries=entries, state="failed", past_deadline_ms=by_ms))


def test_a_run_may_fail_by_its_deadline_and_not_before() -> None:
    assert check_run(overdue(0)) == []
    assert kinds(overdue(-1)) == {"end"}
    assert kinds(seen(replace(overdue(0), plan=plan()))) >= {"end"}


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
    ("a message without a run", lambda messages: [*messages, messages[0]]),
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
    """A cancel of a queued run ends it at once: it has added nothing."""
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
