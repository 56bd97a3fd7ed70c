"""What every log backend promises about runs of a framework: they stay with workers that have it in the same version."""

from __future__ import annotations

import anyio
import pytest

from playhead.runtime.core.ids import new_token
from playhead.runtime.log.interface import Log
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.values import Claim, WorkerInfo
from tests.contract.contract_calls import AGENT, FACT, MINUTE, after, claimed, reaped, submitted, tick, try_claim

__all__: list[str] = []

pytestmark = pytest.mark.anyio

OLD, NEW = {AGENT: "strands-agents 1.0"}, {AGENT: "strands-agents 2.0"}


async def announce(log: Log, worker: str, frameworks: dict[str, str], *, draining: bool = False) -> None:
    info = WorkerInfo(worker, [AGENT], frameworks=frameworks, draining=draining)
    await log.announce(info, ttl_ms=MINUTE)


async def begun(log: Log) -> Claim:
    """A run that a worker with the old version has claimed; one with the new version is alive, too."""
    await announce(log, "old", OLD)
    await announce(log, "new", NEW)
    await submitted(log)
    return await claimed(log, worker="old", frameworks=OLD)


async def test_a_run_goes_on_at_a_worker_with_its_version(log: Log) -> None:
    claim = await begun(log)
    await log.release(after(claim, [FACT]))
    assert await try_claim(log, worker="new", frameworks=NEW) is None
    assert await try_claim(log, worker="none") is None
    again = await claimed(log, worker="old", frameworks=OLD)
    assert (again.run_id, again.epoch) == (claim.run_id, 2)


async def test_without_a_worker_of_its_version_any_may_go_on(log: Log) -> None:
    claim = await begun(log)
    await announce(log, "old", OLD, draining=True)
    await log.release(after(claim, [FACT]))
    assert (await claimed(log, worker="new", frameworks=NEW)).run_id == claim.run_id


async def test_a_run_stays_with_the_version_that_began_it(log: Log) -> None:
    claim = await begun(log)
    await announce(log, "old", OLD, draining=True)
    await log.release(after(claim, [FACT]))
    claim = await claimed(log, worker="new", frameworks=NEW)
    await announce(log, "old", OLD)
    await log.release(after(claim, [FACT]))
    assert await try_claim(log, worker="new", frameworks=NEW) is None
    assert (await claimed(log, worker="old", frameworks=OLD)).epoch == 3


async def test_a_dead_owner_is_not_waited_for(log: Log) -> None:
    await announce(log, "old", OLD)
    run_id = await submitted(log)
    await claimed(log, worker="old", frameworks=OLD, lease_ms=1)
    assert await reaped(log) == [run_id]
    assert (await claimed(log, worker="new", frameworks=NEW)).run_id == run_id


async def test_a_reaper_opens_the_queue_of_workers_that_are_gone(log: Log) -> None:
    claim = await begun(log)
    earlier = await submitted(log)
    await log.release(after(claim, [FACT]))
    await log.announce(WorkerInfo("old", [AGENT], frameworks=OLD), ttl_ms=1)
    await tick(log)
    await tick(log)
    assert await log.reap() == []
    found = [(await claimed(log, worker="new", frameworks=NEW)).run_id for _ in range(2)]
    assert found == [earlier, claim.run_id], "in the order in which they were queued"


async def test_a_delayed_run_waits_in_the_queue_of_its_version(log: Log) -> None:
    claim = await begun(log)
    await log.release(after(claim, [FACT]), delay_ms=MINUTE)
    assert await try_claim(log, worker="old", frameworks=OLD) is None
    assert await try_claim(log, worker="old", frameworks=OLD, run_id=claim.run_id) is None


async def test_a_worker_is_woken_by_a_run_of_its_version(log: Log) -> None:
    claim = await begun(log)
    queues = list(queues_of([AGENT], OLD))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.release, after(claim, [FACT]))
            while await try_claim(log, worker="old", token=new_token(), frameworks=OLD) is None:
                await log.wait_for_work(queues, worker="old", timeout=5)


async def test_a_suspect_waits_for_a_worker_of_its_version(log: Log) -> None:
    run_id = await submitted(log)
    for _ in range(2):
        await claimed(log, worker="old", frameworks=OLD, lease_ms=1)
        await announce(log, "older", OLD)
        await reaped(log)
    old, new = list(queues_of([AGENT], OLD)), list(queues_of([AGENT], NEW))
    assert not await log.should_empty(new, worker="new", for_ms=MINUTE)
    assert await log.should_empty(old, worker="older", for_ms=MINUTE)
    assert await try_claim(log, worker="older", frameworks=OLD, suspects=False) is None
    assert (await claimed(log, worker="older", frameworks=OLD)).run_id == run_id
