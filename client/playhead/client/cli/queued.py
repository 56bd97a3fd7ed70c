"""What a queued run waits for, as a user sees it."""

from __future__ import annotations

from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import RunInfo

__all__ = ["what_it_waits_for"]


async def what_it_waits_for(log: LogReader, info: RunInfo) -> str:
    """What the queued run waits for: its session, or a worker; empty if a worker has a place for it."""
    if info.session is not None:
        holder = await log.holder(info.session)
        if holder not in (None, info.run_id):
            state = held.state if (held := await log.info(holder)) is not None else "gone"
            return f"its session, which run {holder} holds ({state})"
    serving = [worker for worker in await log.workers() if info.agent in worker.agents]
    if not serving:
        return f"a worker: no live one serves agent '{info.agent}' (playhead worker TARGET)"
    if all(worker.running >= worker.concurrency for worker in serving):
        return f"a place at a worker: all {len(serving)} that serve agent '{info.agent}' are full"
    return ""
