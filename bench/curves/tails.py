"""Tails: from one to thousands in one client process, on runs that stream nothing; the cost to open and hold them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import anyio

from bench.children import child
from bench.curves.curve import Point
from bench.curves.sizes import CurveSizes
from bench.seeding import SeededRun, opened_log, running_runs
from bench.server import Bench
from bench.tails import open_tails
from bench.viewer import CLIENT_NAME

__all__ = ["measure"]

_PREFIX = "tails-curve"


async def measure(bench: Bench, sizes: CurveSizes, say: Callable[[str], None]) -> list[Point]:
    """The points of the curve."""
    say(f"tails: {max(sizes.tails):,} runs")
    async with opened_log(bench.url, prefix=_PREFIX) as log:
        runs = await running_runs(log, max(sizes.tails))
    points: list[Point] = []
    for tails in sizes.tails:
        say(f"tails: {tails:,}")
        points.append(await _point(bench, runs[:tails], seconds=sizes.waiting_s))
    return points


async def _point(bench: Bench, runs: Sequence[SeededRun], *, seconds: float) -> Point:
    tails = len(runs)
    async with child(open_tails, {"url": bench.url, "prefix": _PREFIX}, uvloop=False) as process:
        empty = await process.ask("snapshot")
        opened = await process.ask("open", runs=[run.id for run in runs], events=tails)
        connections = sum(client.get("name") == CLIENT_NAME for client in await bench.clients())
        began, server = time.monotonic(), await bench.counters()
        await anyio.sleep(seconds)
        idle, server_now, took = await process.ask("snapshot"), await bench.counters(), time.monotonic() - began
    return {
        "tails": tails,
        "connections": connections,
        "kib": (opened["rss"] - empty["rss"]) / tails / 1024,
        "open_ms": opened["s"] / tails * 1000,
        "open_s": opened["s"],
        "idle_client_us": (idle["cpu"] - opened["cpu"]) / took / tails * 1e6,
        "idle_server_us": (server_now.cpu - server.cpu) / took / tails * 1e6,
    }
