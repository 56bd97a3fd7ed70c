"""The log's contract for what a caller asks before it relies on the log: its check, its refusal, leases that are missing."""

from __future__ import annotations

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import NewRun

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"agent": encode_record(RunClaimed(at=0, worker="w"))}


async def test_a_log_that_accepts_writes_says_so_and_changes_nothing_by_being_asked(log: Log) -> None:
    for warning in await log.check():
        assert warning.endswith(".")
    assert await log.refusal() is None
    assert await log.runs() == []


async def test_a_run_that_is_not_running_or_has_its_lease_is_not_adopted(log: Log) -> None:
    queued, running = new_run_id(), new_run_id()
    await log.submit(NewRun(running, "agent", RunSubmitted(at=0, agent="agent")))
    claim = await log.claim(CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
    assert claim is not None
    await log.submit(NewRun(queued, "agent", RunSubmitted(at=0, agent="agent")))
    assert await log.adopt([queued, claim.run_id, new_run_id()]) == []
    assert await log.adopt([]) == []
    assert await log.reap() == []
