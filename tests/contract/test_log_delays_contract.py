"""The log's contract for a run that its owner releases with a delay: no claim gets it before, and everything else works at once."""

from __future__ import annotations

import anyio
import pytest

from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, WriteResult, WriteStatus
from tests.contract.contract_calls import AGENT, FACT, claimed, known, submitted, try_claim

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOUR = 3_600_000


async def once_due(log: Log) -> Claim:
    """The claim of the run, as soon as a claim gets it."""
    with anyio.fail_after(10):
        while (claim := await try_claim(log)) is None:  # noqa: ASYNC110 - no log tells of the time
            await anyio.sleep(0.005)
    return claim


async def released(log: Log, *, delay_ms: int, session: str | None = None, deadline_ms: int | None = None) -> Claim:
    """A run that waits; returns its former owner's claim."""
    await submitted(log, session=session, deadline_ms=deadline_ms)
    claim = await claimed(log)
    result = await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]), delay_ms=delay_ms)
    assert result == WriteResult(WriteStatus.OK, head=3)
    return claim


async def test_no_claim_gets_the_run_before_the_delay_is_over_by_the_logs_clock(log: Log) -> None:
    former = await released(log, delay_ms=60)
    waits = await known(log, former.run_id)
    assert waits.state == "queued"
    assert waits.due is not None
    assert waits.due == waits.updated + 60
    claim = await once_due(log)
    owned = await known(log, former.run_id)
    assert (claim.run_id, claim.epoch) == (former.run_id, 2)
    assert owned.updated >= waits.due
    assert owned.due is None


async def test_a_wait_is_a_hand_over_and_not_an_idle_owner(log: Log) -> None:
    former = await released(log, delay_ms=1)
    assert (await known(log, former.run_id)).handovers == 1
    claim = await once_due(log)
    assert (claim.idle_owners, claim.crashes) == (0, 0)


async def test_other_runs_are_claimed_meanwhile_and_one_that_is_due_before_those_queued_later(log: Log) -> None:
    late = await released(log, delay_ms=HOUR)
    other = await submitted(log)
    assert (await claimed(log)).run_id == other
    soon = await released(log, delay_ms=1)
    with anyio.fail_after(10):
        while (info := await known(log, await submitted(log))).updated <= (await known(log, soon.run_id)).updated + 1:
            assert info.state == "queued"
            await anyio.sleep(0.005)
    assert (await claimed(log)).run_id != late.run_id
    assert (await known(log, late.run_id)).state == "queued"


async def test_a_cancel_ends_a_run_that_waits_at_once(log: Log) -> None:
    former = await released(log, delay_ms=HOUR)
    assert await log.signal(former.run_id, Signal("s1", "cancel")) == "cancelled"
    ended = await known(log, former.run_id)
    assert (ended.state, ended.due) == ("cancelled", None)


async def test_a_cancel_that_the_owner_did_not_take_in_ends_the_run_instead_of_the_wait(log: Log) -> None:
    await submitted(log)
    claim = await claimed(log)
    await log.signal(claim.run_id, Signal("s1", "cancel"))
    await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]), delay_ms=HOUR)
    assert (await known(log, claim.run_id)).state == "cancelled"


async def test_a_deadline_ends_a_run_that_waits(log: Log) -> None:
    former = await released(log, delay_ms=HOUR, deadline_ms=20)
    with anyio.fail_after(10):
        while not (await known(log, former.run_id)).ended:
            await log.reap()
            await anyio.sleep(0.005)
    assert (await known(log, former.run_id)).state == "failed"


async def test_a_steer_waits_with_the_run_for_its_next_owner(log: Log) -> None:
    former = await released(log, delay_ms=60)
    assert await log.signal(former.run_id, Signal("s1", "steer", "left")) == "queued"
    assert await try_claim(log) is None
    assert (await once_due(log)).inbox == 1


async def test_a_run_that_waits_keeps_its_session(log: Log) -> None:
    former = await released(log, delay_ms=HOUR, session="ada")
    await submitted(log, session="ada")
    assert await try_claim(log) is None
    assert await log.holder("ada") == former.run_id


async def test_a_repeat_of_the_release_does_not_begin_the_delay_anew(log: Log) -> None:
    former = await released(log, delay_ms=HOUR)
    before = await known(log, former.run_id)
    again = await log.release(Batch(former.run_id, former.token, former.head, [FACT]), delay_ms=2 * HOUR)
    assert again.status is WriteStatus.DUP
    assert await known(log, former.run_id) == before


async def test_a_release_without_a_delay_is_due_at_once_and_a_later_owner_has_no_delay_left(log: Log) -> None:
    await released(log, delay_ms=1)
    claim = await once_due(log)
    await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]))
    assert (await known(log, claim.run_id)).due is None
    assert (await claimed(log)).run_id == claim.run_id


async def test_a_delay_below_zero_is_refused(log: Log) -> None:
    await submitted(log)
    claim = await claimed(log)
    with pytest.raises(ValueError, match=r"delay_ms must be a whole number from 0 .* not -1"):
        await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]), delay_ms=-1)
    assert (await known(log, claim.run_id)).state == "running"


async def test_a_suspect_that_waits_empties_no_worker(log: Log) -> None:
    await submitted(log)
    for _ in range(2):
        await claimed(log)
        await log.bury("w1", ended="was killed by SIGKILL")
    claim = await claimed(log)
    await log.release(Batch(claim.run_id, claim.token, claim.head, [FACT]), delay_ms=HOUR)
    assert not await log.should_empty([AGENT], worker="w2", for_ms=HOUR)
