"""What every log backend promises of a submission to a session that a run holds: it waits, is refused, cancels or steers."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import SessionHeldError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import (
    CycleStarted,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunSubmitted,
    SignalReceived,
)
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd, WriteStatus

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENT = "echo"
CLAIMED = encode_record(RunClaimed(at=1, worker="w"))
FACT = encode_record(CycleStarted(at=2, cycle=1))
COMPLETED = encode_record(RunCompleted(at=3, result={}))
FAILED = encode_record(RunFailed(at=3, error_type="ValueError", message="no"))
RECEIVED = encode_record(SignalReceived(at=2, signal_id="s", kind="steer", body="left"))
PAUSED = encode_record(RunPaused(at=2, interrupts=[], result={}))


def new(prompt: str = "", *, agent: str = AGENT, session: str | None = "ada", **more: Any) -> NewRun:
    return NewRun(new_run_id(), agent, RunSubmitted(at=0, agent=agent, prompt=prompt, session=session), session, **more)


async def claimed(log: Log) -> Claim:
    claim = await log.claim({AGENT: CLAIMED}, worker="w1", token=new_token(), lease_ms=60_000)
    assert claim is not None
    return claim


async def running(log: Log) -> Claim:
    """A run that holds the session `ada`, and has an owner."""
    assert await log.submit(new("first"))
    return await claimed(log)


def end(claim: Claim, state: Any, *records: bytes, ack: int = 0) -> RunEnd:
    batch = Batch(claim.run_id, claim.token, claim.head, [*records, FAILED if state == "failed" else COMPLETED], ack)
    return RunEnd(batch, state, claim.session)


async def state_of(log: Log, run_id: str) -> str | None:
    info = await log.info(run_id)
    return info.state if info else None


async def prompts(log: Log) -> list[Any]:
    """The prompts of all runs, the oldest first."""
    first = [(await log.read(info.run_id, limit=1))[0].record for info in reversed(await log.runs())]
    return [record.prompt for record in first if isinstance(record, RunSubmitted)]


# ---------------------------------------------------------------- reject


async def test_a_run_that_is_to_be_rejected_is_refused_by_a_busy_session_with_the_run_that_holds_it(log: Log) -> None:
    claim = await running(log)
    refused = new("second", if_busy="reject")
    with pytest.raises(SessionHeldError, match=claim.run_id) as raised:
        await log.submit(refused)
    assert (raised.value.session_id, raised.value.run_id, raised.value.state) == ("ada", claim.run_id, "running")
    assert await log.info(refused.run_id) is None
    await log.finish(end(claim, "completed"))
    assert await log.submit(refused)
    assert not await log.submit(refused), "sent twice"
    assert (await claimed(log)).run_id == refused.run_id


# ---------------------------------------------------------------- cancel


async def test_a_run_that_cancels_the_one_before_it_waits_until_that_one_has_ended(log: Log) -> None:
    claim = await running(log)
    second = new("second", if_busy="cancel")
    assert await log.submit(second)
    assert not await log.submit(second), "sent twice"
    assert [signal.kind for signal in await log.inbox(claim.run_id)] == ["cancel"]
    assert await log.wait_for_work([], worker="w1", timeout=5) == claim.run_id
    assert await log.claim({AGENT: CLAIMED}, worker="w1", token=new_token(), lease_ms=60_000) is None
    await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]))
    assert await state_of(log, claim.run_id) == "cancelled"
    assert (await claimed(log)).run_id == second.run_id


@pytest.mark.parametrize("state", ["queued", "paused"])
async def test_a_run_without_an_owner_ends_in_the_call_that_cancels_it(log: Log, state: str) -> None:
    first = new("first")
    assert await log.submit(first)
    if state == "paused":
        claim = await claimed(log)
        await log.pause(Batch(claim.run_id, claim.token, claim.head, [PAUSED]), interrupts=["i"])
    waiting, third = new("waiting"), new("third", if_busy="cancel")
    assert await log.submit(waiting)
    assert await log.submit(third)
    assert await state_of(log, first.run_id) == "cancelled"
    assert await log.holder("ada") == waiting.run_id, "those that wait already come first"
    await log.finish(end(await claimed(log), "completed"))
    assert (await claimed(log)).run_id == third.run_id


async def test_a_free_session_takes_the_run_whatever_it_was_to_do_if_it_were_busy(log: Log) -> None:
    for word in ("reject", "cancel", "steer"):
        run = new(word, session=word, if_busy="queue" if word == "steer" else word)
        if word == "steer":
            assert await log.submit_or_steer(run) == run.run_id
        else:
            assert await log.submit(run)
        assert await log.holder(word) == run.run_id


# ---------------------------------------------------------------- steer


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
async def test_a_steer_of_a_busy_session_goes_to_the_run_that_holds_it(log: Log, state: str) -> None:
    first, steer = new("first"), new("to the left")
    assert await log.submit(first)
    if state != "queued":
        claim = await claimed(log)
        if state == "paused":
            await log.pause(Batch(claim.run_id, claim.token, claim.head, [PAUSED]), interrupts=["i"])
    assert await log.submit_or_steer(steer) == first.run_id
    assert await log.submit_or_steer(steer) == first.run_id, "sent twice"
    assert await log.inbox(first.run_id) == [Signal(steer.run_id, "steer", "to the left")]
    assert await state_of(log, first.run_id) == state
    assert await prompts(log) == ["first"]


async def test_a_run_cannot_complete_before_it_has_received_a_steer(log: Log) -> None:
    claim = await running(log)
    await log.submit_or_steer(new("left"))
    assert (await log.finish(end(claim, "completed"))).status is WriteStatus.WAITING
    assert (await log.finish(end(claim, "completed", RECEIVED, ack=1))).status is WriteStatus.OK
    assert await log.holder("ada") is None, "a steer that was received is not a run"
    assert await prompts(log) == ["first"]


async def test_a_steer_that_a_run_did_not_receive_before_it_failed_becomes_a_run_before_those_that_wait(
    log: Log,
) -> None:
    claim = await running(log)
    waiting, steers = new("waiting"), [new("one", deadline_ms=60_000), new("two"), new("three")]
    for steer in steers[:1]:
        await log.submit_or_steer(steer)
    assert await log.submit(waiting)
    for steer in steers[1:]:
        await log.submit_or_steer(steer)
    await log.finish(end(claim, "failed", RECEIVED, ack=1))
    assert await log.info(steers[0].run_id) is None, "it was received"
    order = [claim.run_id, waiting.run_id, steers[1].run_id, steers[2].run_id]
    assert [info.run_id for info in reversed(await log.runs())] == order
    for run in (steers[1], steers[2], waiting):
        claim = await claimed(log)
        assert claim.run_id == run.run_id
        await log.finish(end(claim, "completed"))
    assert await log.submit_or_steer(steers[1]) == steers[1].run_id, "sent again, it is the run that it became"
    assert await log.submit_or_steer(steers[0]) == order[0], "and the one that was received is not sent to another run"


@pytest.mark.parametrize("how", ["it was cancelled", "its deadline passed"])
async def test_a_steer_becomes_a_run_when_a_run_without_an_owner_ends(log: Log, how: str) -> None:
    first, steer = (
        new("first", deadline_ms=1 if how == "its deadline passed" else None),
        new("left", deadline_ms=60_000),
    )
    assert await log.submit(first)
    assert await log.submit_or_steer(steer) == first.run_id
    if how == "it was cancelled":
        assert await log.signal(first.run_id, Signal("c", "cancel")) == "cancelled"
    while await state_of(log, first.run_id) == "queued":
        await log.reap()
    info = await log.info(steer.run_id)
    assert info is not None
    assert (info.state, info.session, info.deadline is not None) == ("queued", "ada", True)
    assert await log.holder("ada") == steer.run_id
    assert (await claimed(log)).run_id == steer.run_id


async def test_a_steer_is_a_run_of_its_own_if_the_other_run_is_cancelled_or_of_another_agent(log: Log) -> None:
    claim = await running(log)
    other = new("of another agent", agent="other")
    assert await log.submit_or_steer(other) == other.run_id
    await log.signal(claim.run_id, Signal("c", "cancel"))
    late = new("after the cancel")
    assert await log.submit_or_steer(late) == late.run_id
    assert [signal.kind for signal in await log.inbox(claim.run_id)] == ["cancel"]


async def test_a_steer_outlives_the_death_of_the_run_that_is_to_receive_it(log: Log) -> None:
    claim, steer = await running(log), new("left")
    await log.submit_or_steer(steer)
    await log.bury("w1", ended="was killed")
    again = await claimed(log)
    assert (again.run_id, again.inbox) == (claim.run_id, 1)
    await log.finish(end(again, "failed"))
    assert (await claimed(log)).run_id == steer.run_id


async def test_what_to_do_if_the_session_is_busy_is_one_of_three_words() -> None:
    with pytest.raises(ValueError, match="if_busy must be 'queue' or 'reject' or 'cancel', not 'steer'"):
        new("Hi", if_busy="steer")
