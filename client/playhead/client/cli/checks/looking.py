"""Looks through the runs of all shards for what `fleet` judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from importlib.metadata import version

from playhead.client.cli.checks.fleet import Fleet, largest_of, slowest_of
from playhead.runtime.core.records import Entry
from playhead.runtime.log.redis.shards import ShardedLog
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["look"]


async def look(logs: ShardedLog, *, workers: Sequence[WorkerInfo], limit: int | None) -> Fleet:
    """Look at the newest `limit` runs of each shard, or at all, and at every lease."""
    shards = [logs.at(shard) for shard in range(await logs.settled())]
    open_runs, largest, looked_at, all_seen = await _runs(logs, len(shards), limit)
    expired = {run_id: since for log in shards for run_id, since in (await log.expired_leases()).items()}
    return Fleet(
        now=await logs.at(0).now(),
        version=version("playhead-client"),
        workers=workers,
        open=open_runs,
        looked_at=looked_at,
        all_seen=all_seen,
        expired=expired,
        holders=await _holders(logs, open_runs),
        without_lease=await _without_lease(logs, open_runs),
        last=await _last_records(logs, slowest_of(open_runs)),
        largest=largest,
        bytes=await _bytes(logs, largest),
    )


async def _runs(logs: ShardedLog, shards: int, limit: int | None) -> tuple[list[RunInfo], list[RunInfo], int, bool]:
    """The runs that have not ended, the largest, the number looked at, and whether these were all."""
    open_runs: list[RunInfo] = []
    largest: list[RunInfo] = []
    looked_at, all_seen = 0, True
    for shard in range(shards):
        here = 0
        async with aclosing(logs.at(shard).run_pages()) as pages:
            async for page in pages:
                if limit is not None and here >= limit:
                    all_seen = all_seen and not page
                    break
                here += len(page)
                open_runs += [info for info in page if not info.ended]
                largest = largest_of([*largest, *page])
        looked_at += here
    return sorted(open_runs, key=lambda info: info.created, reverse=True), largest, looked_at, all_seen


async def _without_lease(logs: ShardedLog, runs: Sequence[RunInfo]) -> list[str]:
    """The running runs that have no lease. A run that ends or changes its owner meanwhile is not one of them."""
    running: dict[int, dict[str, int]] = defaultdict(dict)
    for info in runs:
        if info.state == "running":
            running[logs.shard_of(info.run_id)][info.run_id] = info.epoch
    found: list[str] = []
    for shard, epochs in running.items():
        for run_id in await logs.at(shard).without_lease(list(epochs)):
            now = await logs.at(shard).info(run_id)
            if now is not None and (now.state, now.epoch) == ("running", epochs[run_id]):
                found.append(run_id)
    return found


async def _holders(logs: ShardedLog, runs: Sequence[RunInfo]) -> dict[str, RunInfo]:
    """The runs that hold the sessions of queued runs. They may be older than the runs that were looked at."""
    known = {info.run_id: info for info in runs}
    sessions: dict[int, set[str]] = defaultdict(set)
    for info in runs:
        if info.state == "queued" and info.session is not None:
            sessions[logs.shard_of(info.run_id)].add(info.session)
    found: dict[str, RunInfo] = {}
    for shard, names in sessions.items():
        for session, run_id in (await logs.at(shard).holders(sorted(names))).items():
            holder = known.get(run_id) or await logs.at(shard).info(run_id)
            if holder is not None and not holder.ended:
                found[session] = holder
    return found


async def _last_records(logs: ShardedLog, runs: Sequence[RunInfo]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for info in runs:
        if entries := await logs.read_back(info.run_id, before=info.head + 1, limit=1):
            found[info.run_id] = entries[0]
    return found


async def _bytes(logs: ShardedLog, runs: Sequence[RunInfo]) -> dict[str, int]:
    sizes = {info.run_id: await logs.at(logs.shard_of(info.run_id)).memory_of(info.run_id) for info in runs}
    return {run_id: size for run_id, size in sizes.items() if size is not None}
