"""A worker that is killed or frozen: the tails of its runs say so soon after the renewal that is missing."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.client import Client, Notice

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .conftest import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LEASE_MS = 9_000
MISSED_AFTER_MS = LEASE_MS // 3
"""A worker renews so long after its last renewal."""

SOON_MS = 2_000
"""Within so long a reader hears of the missed renewal; 1,000 of them are for a renewal that is late."""


class Told:
    """The notices of a client, with the time at which each came, in unix milliseconds."""

    def __init__(self) -> None:
        self.notices: list[tuple[float, Notice]] = []
        self._told = anyio.Event()

    def __call__(self, notice: Notice) -> None:
        self.notices.append((time.time() * 1000, notice))
        self._told.set()

    async def first(self) -> tuple[float, Notice]:
        await self._told.wait()
        return self.notices[0]


@asynccontextmanager
async def told_client(programs: Programs, told: Told) -> AsyncGenerator[Client]:
    with anyio.fail_after(40):
        async with Client(programs.url, prefix=programs.prefix, on_notice=told) as client:
            yield client


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_tail_hears_of_a_silent_owner_within_two_seconds_of_the_missed_renewal(
    programs: Programs, how: str
) -> None:
    told = Told()
    async with told_client(programs, told) as client:
        run = await client.start("steps", "Go")
        owner = await programs.worker(hold="step 2", lease_ms=LEASE_MS)
        async with programs.watching(run) as watcher:
            await owner.hears("held")
            await (owner.kill() if how == "killed" else anyio.to_thread.run_sync(owner.pause))
            at, notice = await told.first()
            assert (notice.kind, notice.run_id) == ("silent", run.id)
            assert notice.since is not None
            assert notice.until is not None
            assert notice.until - notice.since == LEASE_MS
            assert MISSED_AFTER_MS < at - notice.since < MISSED_AFTER_MS + SOON_MS
            assert at < notice.until
            if how == "killed":
                await programs.expire_lease(run)
                await programs.worker()
            else:
                owner.resume()
                await owner.tell("go")
        assert str(watcher.events[-1]["result"]) == "All done.\n"
        assert [one.kind for _, one in told.notices].count("silent") == 1
        assert (await run.info()).epoch == (2 if how == "killed" else 1)
