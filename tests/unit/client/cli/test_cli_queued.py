"""`show` says what a queued run waits for."""

from __future__ import annotations

import anyio

from playhead.client.cli.queued import what_it_waits_for
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun, WorkerInfo

__all__: list[str] = []


def worker(*, running: int) -> WorkerInfo:
    return WorkerInfo("w", ["clerk"], "host", 1, 1, running, started=0)


async def told(log: MemoryLog, run_id: str) -> str:
    info = await log.info(run_id)
    assert info is not None
    return await what_it_waits_for(log, info)


def test_a_queued_run_waits_for_its_session_or_for_a_place_at_a_worker() -> None:
    async def main() -> None:
        log = MemoryLog()
        for run_id in ("first", "second"):
            await log.submit(NewRun(run_id, "clerk", RunSubmitted(at=1, agent="clerk", session="ada"), "ada"))
        assert await told(log, "first") == "a worker: no live one serves agent 'clerk' (playhead worker TARGET)"
        assert await told(log, "second") == "its session, which run first holds (queued)"
        await log.announce(worker(running=1), ttl_ms=60_000)
        assert await told(log, "first") == "a place at a worker: all 1 that serve agent 'clerk' are full"
        await log.announce(worker(running=0), ttl_ms=60_000)
        assert await told(log, "first") == ""

    anyio.run(main)
