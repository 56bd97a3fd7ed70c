"""The wait before a model call is made again: its worker is killed in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.runtime.core.records import ModelFailed, ModelStarted, RunClaimed

if TYPE_CHECKING:
    from .conftest import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

DELAY_MS = 4000
LEASE_MS = 2000


async def test_killed_in_the_wait_the_next_owner_waits_only_the_rest(programs: Programs) -> None:
    """The kill costs a lease, which is half of the wait; the whole wait again would be seen."""
    async with programs.client() as client:
        run = await client.start("throttled", "Go")
        first = await programs.worker()
        async with programs.watching(run) as watcher:
            await watcher.saw(retrying=True)
            await first.kill()
            await programs.worker()
        assert str(watcher.events[-1]["result"]) == "Here I am.\n"
        await watcher.assert_saw_everything_once()
        entries = await programs.dense_entries(run)
        info = await run.info()
    assert (info.epoch, info.crashes) == (2, 1)
    assert programs.effects() == ["called", "called"]
    (failed,) = [entry.record for entry in entries if isinstance(entry.record, ModelFailed)]
    assert failed.delay * 1000 == DELAY_MS
    claimed = [entry.record.at for entry in entries if isinstance(entry.record, RunClaimed)][-1]
    starts = [entry for entry in entries if isinstance(entry.record, ModelStarted)]
    assert [entry.epoch for entry in starts] == [1, 2]
    again = starts[-1].record.at
    assert again - failed.at >= DELAY_MS - 10, "not before the wait was over"
    assert claimed - failed.at > LEASE_MS / 2
    assert again - claimed < DELAY_MS - LEASE_MS / 2, "not the whole wait again"
