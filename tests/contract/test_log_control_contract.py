"""The log's contract for signals and deadlines: responses, steers, cancels that no owner takes in."""

from __future__ import annotations

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import InterruptNotOpenError
from playhead.runtime.core.records import SignalReceived
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, RunEnd, WriteResult, WriteStatus
from tests.contract.contract_calls import (
    CANCEL,
    FACT,
    MINUTE,
    after,
    claimed,
    known,
    owned,
    reaped,
    state_of,
    submitted,
    try_claim,
)

__all__: list[str] = []

pytestmark = pytest.mark.anyio

TAKEN_IN = encode_record(SignalReceived(at=0, signal_id="s1", kind="cancel"))
STEER = Signal("s2", "steer", "go left")


async def paused(log: Log, *interrupts: str, session: str | None = None) -> Claim:
    """A run that waits for responses; returns its former owner's claim."""
    claim = await owned(log, session=session)
    assert (await log.pause(after(claim, [FACT]), interrupts=interrupts)).status is WriteStatus.OK
    return claim


async def types(log: Log, run_id: str) -> list[str]:
    return [entry.record.type for entry in await log.read(run_id)]


# ---------------------------------------------------------------- pauses and responses


async def test_a_paused_run_has_no_owner_no_lease_and_no_place_in_the_queue(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    assert await log.pause(after(claim, [FACT]), interrupts=["i1"]) == WriteResult(WriteStatus.OK, 3)
    info = await known(log, claim.run_id)
    assert (info.state, info.worker, info.head, info.crashes, info.handovers) == ("paused", None, 3, 0, 0)
    assert await try_claim(log) is None
    later = await owned(log, lease_ms=1)
    assert await reaped(log) == [later.run_id], "the paused run's lease, which was older, is gone"
    (result,) = await log.append([Batch(claim.run_id, claim.token, 3, [FACT])])
    assert result.status is WriteStatus.FENCED


async def test_a_response_queues_a_paused_run_again_with_the_response(log: Log) -> None:
    claim = await paused(log, "i1")
    signal = Signal("a1", "respond", {"i1": {"approved": True}})
    assert await log.signal(claim.run_id, signal) == "queued"
    again = await claimed(log)
    assert (again.run_id, again.epoch, again.inbox, again.head) == (claim.run_id, 2, 1, 4)
    assert await log.inbox(claim.run_id) == [signal]


async def test_a_response_to_what_is_not_open_is_refused_and_changes_nothing(log: Log) -> None:
    claim = await paused(log, "i1", "i2")
    with pytest.raises(InterruptNotOpenError, match="nope") as caught:
        await log.signal(claim.run_id, Signal("a1", "respond", {"i1": "yes", "nope": "no"}))
    assert (caught.value.run_id, caught.value.ids) == (claim.run_id, ["nope"])
    assert (await state_of(log, claim.run_id), await log.inbox(claim.run_id)) == ("paused", [])
    assert await log.signal(claim.run_id, Signal("a1", "respond", {"i1": "yes"})) == "queued", "the id was not used up"
    running = await owned(log)
    with pytest.raises(InterruptNotOpenError):
        await log.signal(running.run_id, Signal("a2", "respond", {"i1": "yes"}))


async def test_an_interrupt_is_answered_once(log: Log) -> None:
    claim = await paused(log, "i1", "i2")
    first = Signal("a1", "respond", {"i1": "ada's"})
    assert await log.signal(claim.run_id, first) == "queued"
    assert await log.signal(claim.run_id, first) == "queued", "sent twice it counts once"
    with pytest.raises(InterruptNotOpenError):
        await log.signal(claim.run_id, Signal("a2", "respond", {"i1": "bob's"}))
    assert await log.signal(claim.run_id, Signal("a3", "respond", {"i2": "bob's"})) == "queued"
    assert [signal.signal_id for signal in await log.inbox(claim.run_id)] == ["a1", "a3"]


async def test_a_paused_run_keeps_its_session(log: Log) -> None:
    claim = await paused(log, "i1", session="ada")
    await submitted(log, session="ada")
    assert await try_claim(log) is None
    await log.signal(claim.run_id, Signal("a1", "respond", {"i1": 1}))
    assert (await claimed(log)).run_id == claim.run_id


async def test_a_run_with_signals_its_owner_has_not_taken_in_is_not_paused(log: Log) -> None:
    claim = await owned(log)
    await log.signal(claim.run_id, STEER)
    assert (await log.pause(after(claim, [FACT]), interrupts=["i1"])).status is WriteStatus.OK
    assert (await claimed(log)).inbox == 1


async def test_a_question_answered_while_its_owner_pauses_stays_answered(log: Log) -> None:
    claim = await paused(log, "i1", "i2")
    await log.signal(claim.run_id, Signal("a1", "respond", {"i1": "ada's"}))
    again = await claimed(log)
    assert await log.signal(claim.run_id, Signal("a2", "respond", {"i2": "ada's"})) == "running"
    assert (await log.pause(after(again, [FACT], ack=1), interrupts=["i2"])).status is WriteStatus.OK
    assert await state_of(log, claim.run_id) == "queued"
    with pytest.raises(InterruptNotOpenError, match="i2"):
        await log.signal(claim.run_id, Signal("a3", "respond", {"i2": "bob's"}))


async def test_a_pause_acknowledges_the_signals_it_carries(log: Log) -> None:
    claim = await owned(log)
    await log.signal(claim.run_id, STEER)
    assert await log.pause(after(claim, [FACT], ack=1), interrupts=["i1"]) == WriteResult(WriteStatus.OK, 3)
    assert (await state_of(log, claim.run_id), await log.inbox(claim.run_id)) == ("paused", [])


async def test_a_pause_after_another_head_or_by_a_former_owner_changes_nothing(log: Log) -> None:
    claim = await owned(log)
    wrong = Batch(claim.run_id, claim.token, 7, [FACT])
    assert (await log.pause(wrong, interrupts=["i1"])).status is WriteStatus.CONFLICT
    await log.release(after(claim))
    assert (await log.pause(after(claim, [FACT]), interrupts=["i1"])).status is WriteStatus.FENCED
    assert (await log.pause(Batch("0-none", "t", 1, []), interrupts=["i1"])).status is WriteStatus.GONE
    assert (await state_of(log, claim.run_id), await types(log, claim.run_id)) == (
        "queued",
        ["run.submitted", "run.claimed"],
    )


async def test_a_paused_run_can_be_cancelled_and_is_ended_there_and_then(log: Log) -> None:
    claim = await paused(log, "i1", session="ada")
    waiting = await submitted(log, session="ada")
    assert await log.signal(claim.run_id, CANCEL) == "cancelled"
    assert (await types(log, claim.run_id))[-2:] == ["signal.received", "run.cancelled"]
    assert (await claimed(log)).run_id == waiting
    assert await log.signal(claim.run_id, Signal("a1", "respond", {"i1": 1})) == "cancelled", (
        "it says that it has ended"
    )


async def test_a_steer_leaves_a_paused_run_paused_and_waits_for_its_next_owner(log: Log) -> None:
    claim = await paused(log, "i1")
    assert await log.signal(claim.run_id, STEER) == "paused"
    await log.signal(claim.run_id, Signal("a1", "respond", {"i1": 1}))
    assert [signal.kind for signal in await log.inbox((await claimed(log)).run_id)] == ["steer", "respond"]


# ---------------------------------------------------------------- kinds of signals


@pytest.mark.parametrize(
    "signal", [Signal("s", "stop"), Signal("s", ""), Signal("s", "respond"), Signal("s", "respond", {})]
)
async def test_what_is_not_a_signal_is_refused_and_changes_nothing(log: Log, signal: Signal) -> None:
    claim = await owned(log)
    with pytest.raises(ValueError, match="signal"):
        await log.signal(claim.run_id, signal)
    assert await log.inbox(claim.run_id) == []


async def test_a_completion_with_signals_waiting_is_refused_so_that_none_is_lost(log: Log) -> None:
    claim = await owned(log, session="ada")
    await log.signal(claim.run_id, STEER)
    end = RunEnd(after(claim, [FACT]), "completed", "ada", [{"role": "user", "content": []}])
    assert await log.finish(end) == WriteResult(WriteStatus.WAITING, 2, 1)
    info = await known(log, claim.run_id)
    assert (info.state, info.head, await log.messages("ada")) == ("running", 2, [])
    taken_in = RunEnd(after(claim, [FACT], ack=1), "completed", "ada")
    assert (await log.finish(taken_in)).status is WriteStatus.OK


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_other_ends_do_not_wait_for_signals(log: Log, state: str) -> None:
    claim = await owned(log)
    await log.signal(claim.run_id, STEER)
    end = RunEnd(after(claim, [FACT]), "failed" if state == "failed" else "cancelled")
    assert (await log.finish(end)).status is WriteStatus.OK
    assert await log.inbox(claim.run_id) == []


# ---------------------------------------------------------------- cancels that no owner took in


async def test_a_cancel_that_a_dead_owner_did_not_take_in_ends_the_run_with_no_other_owner(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    assert await log.signal(claim.run_id, CANCEL) == "running"
    assert await reaped(log) == [claim.run_id]
    assert (await types(log, claim.run_id))[2:] == ["signal.received", "run.cancelled"]
    info = await known(log, claim.run_id)
    assert (info.state, info.crashes, await try_claim(log)) == ("cancelled", 1, None)


async def test_a_cancel_not_taken_in_when_the_run_is_handed_over_or_paused_takes_effect(log: Log) -> None:
    for part in ("release", "pause"):
        claim = await owned(log)
        await log.signal(claim.run_id, CANCEL)
        batch = after(claim, [FACT])
        result = await (log.release(batch) if part == "release" else log.pause(batch, interrupts=["i1"]))
        assert (result.status, await state_of(log, claim.run_id)) == (WriteStatus.OK, "cancelled")
        again = await (log.release(batch) if part == "release" else log.pause(batch, interrupts=["i1"]))
        assert (again.status, again.head) == (WriteStatus.DUP, 5)


async def test_a_cancel_that_was_taken_in_is_left_to_the_next_owner(log: Log) -> None:
    claim = await owned(log)
    await log.signal(claim.run_id, CANCEL)
    await log.release(after(claim, [TAKEN_IN], ack=1))
    assert (await claimed(log)).run_id == claim.run_id


# ---------------------------------------------------------------- deadlines


async def test_a_run_past_its_deadline_is_failed_whatever_its_state(log: Log) -> None:
    waiting = await submitted(log, deadline_ms=1)
    assert await reaped(log) == [waiting]
    running_id = await submitted(log, deadline_ms=50)
    running = await claimed(log)
    assert (running.run_id, await reaped(log)) == (running_id, [running_id])
    assert (await log.append([after(running, [FACT])]))[0].status is WriteStatus.FENCED
    assert (await log.finish(RunEnd(after(running, [FACT]), "completed"))).status is WriteStatus.FENCED
    asking_id = await submitted(log, deadline_ms=50)
    await log.pause(after(await claimed(log), [FACT]), interrupts=["i1"])
    assert await reaped(log) == [asking_id]
    for run_id in (waiting, running_id, asking_id):
        assert (await types(log, run_id))[-1] == "run.failed"
        info = await known(log, run_id)
        assert (info.state, info.crashes) == ("failed", 0)
    assert await try_claim(log) is None


async def test_a_deadline_passes_the_session_on(log: Log) -> None:
    late = await submitted(log, session="ada", deadline_ms=1)
    other = await submitted(log, session="ada")
    assert await reaped(log) == [late]
    assert (await claimed(log)).run_id == other


async def test_a_deadline_met_is_forgotten_with_the_run(log: Log) -> None:
    run_id = await submitted(log, deadline_ms=MINUTE)
    info = await known(log, run_id)
    assert info.deadline is not None
    assert info.deadline - info.created == MINUTE
    claim = await claimed(log)
    assert (await log.finish(RunEnd(after(claim, [FACT]), "completed"))).status is WriteStatus.OK
    dead = await owned(log, lease_ms=1)
    assert await reaped(log) == [dead.run_id]
    assert (await known(log, dead.run_id)).deadline is None


# ---------------------------------------------------------------- counters


async def test_errors_crashes_and_hand_overs_are_counted_apart(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    assert await reaped(log) == [claim.run_id]
    await log.release(after(await claimed(log)))
    await log.release(after(await claimed(log)))
    await log.finish(RunEnd(after(await claimed(log), [FACT]), "failed"))
    info = await known(log, claim.run_id)
    assert (info.errors, info.crashes, info.handovers, info.epoch) == (1, 1, 2, 4)
