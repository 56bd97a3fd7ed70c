"""Workers: from one to several of 100 runs each, at 20 events a second a run, on one server.

Each worker sends the records of its own runs, so calls do not become larger with more workers; but a busier server
reads several calls at one wake-up. The cost of an event is therefore that of a fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.curves.curve import Point
from bench.curves.sizes import CurveSizes
from bench.load import running_fleet
from bench.server import Bench

__all__ = ["RUNS_EACH", "measure"]

RUNS_EACH: Final = 100
_RATE: Final = 20.0


async def measure(bench: Bench, sizes: CurveSizes, say: Callable[[str], None]) -> list[Point]:
    """The points of the curve."""
    points: list[Point] = []
    for workers in sizes.workers:
        say(f"workers: {workers}")
        runs = workers * RUNS_EACH
        async with running_fleet(bench, prefix=f"workers-{workers}", runs=runs, rate=_RATE, workers=workers) as fleet:
            window = await fleet.speak(sizes.window_s, warm_s=sizes.warm_s)
        points.append(
            {
                "workers": workers,
                "offered": runs * _RATE,
                "received": window.received,
                "worker_us": window.worker_us,
                "client_us": window.client_us,
                "server_us": window.server_us,
                "worker_share": window.worker_s / window.seconds / workers,
                "client_share": window.client_s / window.seconds,
                "server_share": window.server_s / window.seconds,
                "records_per_append": window.records_per_append,
                "delay_p50_ms": window.delay_p50_ms,
                "delay_p99_ms": window.delay_p99_ms,
            }
        )
        await bench.clear()
    return points
