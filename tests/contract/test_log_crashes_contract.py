"""What the log counts of owners that end while a run does not get on, and which runs only an empty worker may claim."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Claim, WriteStatus
from tests.contract.contract_calls import AGENT, FACT, MINUTE, after, claimed, submitted, try_claim

__all__: list[str] = []

pytestmark = pytest.mark.anyio

KILLED = "was killed by SIGKILL"


async def silent(log: Log, *, crash_limit: int = 3) -> Claim:
    """The next run is claimed, and taken from its owner again. Returns that owner's claim."""
    claim = await claimed(log, lease_ms=1, crash_limit=crash_limit)
    with anyio.fail_after(10):
        while not await log.reap():
            await anyio.lowlevel.checkpoint()
    return claim


async def counts(log: Log, run_id: str) -> tuple[str, int]:
    info = await log.info(run_id)
    assert info is not None
    return info.state, info.crashes


async def test_a_run_past_its_crash_limit_is_queued_for_an_owner_that_is_told(log: Log) -> None:
    run_id = await submitted(log)
    for crashes in (1, 2, 3):
        former = await silent(log, crash_limit=2)
        assert await counts(log, run_id) == ("queued", crashes)
    last = await claimed(log, suspects=False)  # it is no longer run, so it needs no worker for itself
    assert (last.run_id, last.crashes, last.crash_streak, last.idle_owners) == (run_id, 3, 3, 3)
    (late,) = await log.append([after(former, [FACT])])
    assert late.status is WriteStatus.FENCED


@pytest.mark.parametrize(("crash_limit", "free"), [(1, 1), (2, 2), (3, 2)])
async def test_a_suspect_is_claimed_only_by_a_worker_that_asks_for_suspects(
    log: Log, crash_limit: int, free: int
) -> None:
    suspect = await submitted(log)
    for _ in range(free):
        await silent(log, crash_limit=crash_limit)
    assert await try_claim(log, suspects=False) is None
    other = await submitted(log)
    assert (await claimed(log, suspects=False)).run_id == other
    assert (await claimed(log)).run_id == suspect


async def test_a_run_that_got_on_starts_over(log: Log) -> None:
    run_id = await submitted(log)
    former = await silent(log)
    await silent(log)
    claim = await claimed(log)
    assert not await log.got_on(run_id, former.token)
    assert await log.got_on(run_id, claim.token)
    await log.release(after(claim))
    again = await claimed(log, suspects=False)
    assert (again.crashes, again.crash_streak, again.idle_owners) == (2, 0, 1)


async def test_a_hand_over_is_not_a_crash_and_leaves_an_owner_more_that_did_not_get_on(log: Log) -> None:
    await submitted(log)
    for _ in range(5):
        await log.release(after(await claimed(log, suspects=False)))
    claim = await claimed(log, suspects=False)
    assert (claim.crashes, claim.crash_streak, claim.idle_owners) == (0, 0, 5)


async def test_the_crash_of_an_owner_that_is_heard_of_again_is_taken_back_once(log: Log) -> None:
    run_id = await submitted(log)
    await silent(log)
    former = await silent(log)
    for _ in range(2):
        await log.give_up([(run_id, former.token), (run_id, "forged"), ("unknown", former.token)])
        assert await counts(log, run_id) == ("queued", 1)
    claim = await claimed(log)
    assert (claim.crash_streak, claim.idle_owners) == (1, 2)
    await log.give_up([(run_id, former.token)])
    assert await counts(log, run_id) == ("running", 1)


async def test_a_run_that_its_owner_gives_up_goes_on_at_once_and_counts_no_crash(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    await log.give_up([(run_id, claim.token)])
    assert await counts(log, run_id) == ("queued", 0)
    (late,) = await log.append([after(claim, [FACT])])
    assert late.status is WriteStatus.FENCED
    assert (await claimed(log)).idle_owners == 1


async def test_the_runs_of_a_worker_that_is_known_to_be_dead_go_on_at_once(log: Log) -> None:
    dead = sorted([await submitted(log), await submitted(log)])
    former = [await claimed(log, worker="dead") for _ in dead]
    await submitted(log)
    living = await claimed(log, worker="living")
    assert await log.bury("dead", ended=KILLED) == dead
    assert await log.bury("dead", ended=KILLED) == []
    assert await counts(log, living.run_id) == ("running", 0)
    claims = [await claimed(log) for _ in dead]
    assert [(one.run_id, one.crash_streak, one.crash_end) for one in claims] == [(name, 1, KILLED) for name in dead]
    await log.give_up([(one.run_id, one.token) for one in former])  # it is known to be dead
    assert [await counts(log, name) for name in dead] == [("running", 1)] * 2


async def test_one_worker_at_a_time_empties_itself_and_only_while_a_suspect_waits(log: Log) -> None:
    await submitted(log)
    await silent(log)
    assert not await log.should_empty([AGENT], worker="w1", for_ms=MINUTE)
    await silent(log)
    assert not await log.should_empty(["other"], worker="w1", for_ms=MINUTE)
    answers = [await log.should_empty([AGENT], worker=worker, for_ms=MINUTE) for worker in ("w1", "w2", "w1")]
    assert answers == [True, False, True]
    await claimed(log)
    assert not await log.should_empty([AGENT], worker="w1", for_ms=MINUTE)
