"""The log's contract for what readers see of a lease."""

from __future__ import annotations

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import CycleStarted, RunSubmitted
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, NewRun
from tests.contract.contract_calls import MINUTE, owned

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_only_a_run_with_an_owner_has_a_lease(log: Log) -> None:
    assert await log.lease("unknown") is None
    run_id = new_run_id()
    await log.submit(NewRun(run_id, "other", RunSubmitted(at=0, agent="other")))
    assert await log.lease(run_id) is None
    claim = await owned(log, lease_ms=MINUTE)
    lease = await log.lease(claim.run_id)
    assert lease is not None
    assert lease.length_ms == MINUTE
    assert 0 <= lease.now - lease.renewed < MINUTE
    released = Batch(claim.run_id, claim.token, claim.head, [encode_record(CycleStarted(at=0, cycle=1))])
    await log.release(released)
    assert await log.lease(claim.run_id) is None


async def test_a_renewal_moves_the_end_of_the_lease(log: Log) -> None:
    claim = await owned(log, lease_ms=MINUTE)
    before = await log.lease(claim.run_id)
    await log.renew([(claim.run_id, claim.token)], lease_ms=2 * MINUTE)
    after = await log.lease(claim.run_id)
    assert before is not None
    assert after is not None
    assert after.ends - before.ends >= MINUTE


async def test_the_lease_of_a_run_whose_owner_died_is_seen_until_it_is_reaped(log: Log) -> None:
    claim = await owned(log, lease_ms=1)
    lease = await log.lease(claim.run_id)
    assert lease is not None
    while lease is not None:
        await log.reap()
        lease = await log.lease(claim.run_id)
    info = await log.info(claim.run_id)
    assert info is not None
    assert info.state == "queued"
