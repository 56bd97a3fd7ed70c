"""Readers: one run of 100 events a second, tailed from one to a thousand times by one client process.

The server publishes each record once to a process, however many readers it has, so only the client's cost grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.curves.curve import Point
from bench.curves.sizes import CurveSizes
from bench.load import running_fleet
from bench.server import Bench

__all__ = ["measure"]

_RATE: Final = 100.0


async def measure(bench: Bench, sizes: CurveSizes, say: Callable[[str], None]) -> list[Point]:
    """The points of the curve."""
    points: list[Point] = []
    for readers in sizes.readers:
        say(f"readers: {readers:,}")
        async with running_fleet(bench, prefix=f"readers-{readers}", runs=1, rate=_RATE, readers=readers) as fleet:
            window = await fleet.speak(sizes.window_s, warm_s=sizes.warm_s)
        points.append(
            {
                "readers": readers,
                "offered": _RATE * readers,
                "received": window.received,
                "client_us": window.client_us,
                "server_us": window.server_us,
                "client_share": window.client_s / window.seconds,
                "delay_p50_ms": window.delay_p50_ms,
                "delay_p99_ms": window.delay_p99_ms,
            }
        )
        await bench.clear()
    return points
