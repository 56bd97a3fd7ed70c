"""Runs: from one to thousands at 20 events a second each, through one worker and one client on one server.

First they wait, which shows the cost of holding a run; then they stream. `…_share` is the fraction of one core that a
process used, so the sum shows when the machine is at its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from bench.curves.curve import Point
from bench.curves.sizes import CurveSizes
from bench.fleet import WORKER_NAME
from bench.load import Fleet, running_fleet
from bench.server import Bench
from bench.viewer import CLIENT_NAME

__all__ = ["measure"]

_RATE: Final = 20.0


async def measure(bench: Bench, sizes: CurveSizes, say: Callable[[str], None]) -> list[Point]:
    """The points of the curve."""
    points: list[Point] = []
    empty = await _empty(bench, seconds=sizes.waiting_s)
    for runs in sizes.runs:
        say(f"runs: {runs:,}")
        async with running_fleet(bench, prefix=f"runs-{runs}", runs=runs, rate=_RATE) as fleet:
            held = await _waiting(bench, fleet, runs=runs, seconds=sizes.waiting_s)
            points.append(
                {"runs": runs, "empty_server_share": empty, **held, **await _speaking(fleet, runs=runs, sizes=sizes)}
            )
        await bench.clear()
    return points


async def _empty(bench: Bench, *, seconds: float) -> float:
    """The fraction of a core that the server uses without any worker or client."""
    before = await bench.counters()
    await anyio.sleep(seconds)
    return ((await bench.counters()).cpu - before.cpu) / seconds


async def _waiting(bench: Bench, fleet: Fleet, *, runs: int, seconds: float) -> dict[str, float]:
    """The cost of runs that stream nothing: a renewal is one call for all runs of the worker."""
    before = await fleet.moment()
    await anyio.sleep(seconds)
    after = await fleet.moment()
    renewals = after.fleet["renewals"] - before.fleet["renewals"]
    server_s = after.server.cpu - before.server.cpu
    names = [client.get("name") for client in await bench.clients()]
    return {
        "worker_connections": names.count(WORKER_NAME),
        "client_connections": names.count(CLIENT_NAME),
        "held_kib": (after.fleet["rss"] - fleet.idle.fleet["rss"]) / runs / 1024,
        "held_worker_share": (after.fleet["cpu"] - before.fleet["cpu"]) / seconds,
        "held_server_share": server_s / seconds,
        "held_commands": (after.server.commands - before.server.commands) / seconds,
        "renewals": renewals / seconds,
    }


async def _speaking(fleet: Fleet, *, runs: int, sizes: CurveSizes) -> dict[str, float]:
    window = await fleet.speak(sizes.window_s, warm_s=sizes.warm_s)
    busy = (await fleet.moment()).fleet["rss"]
    return {
        "offered": runs * _RATE,
        "received": window.received,
        "worker_us": window.worker_us,
        "client_us": window.client_us,
        "server_us": window.server_us,
        "worker_share": window.worker_s / window.seconds,
        "client_share": window.client_s / window.seconds,
        "server_share": window.server_s / window.seconds,
        "records_per_append": window.records_per_append,
        "records_per_message": window.records_per_message,
        "delay_p50_ms": window.delay_p50_ms,
        "delay_p99_ms": window.delay_p99_ms,
        "busy_kib": (busy - fleet.idle.fleet["rss"]) / runs / 1024,
    }
