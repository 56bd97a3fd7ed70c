"""Paced: a thousand runs at 20 events a second, the typical load of a fleet of streaming models.

Nothing is saturated here, so batches are small and the cost of each call and each timer is visible. The bench's model
sleeps before each chunk, unlike a model that streams over a network. The cost of that timer is measured alone in the
same rounds (the same models on the same loop, their chunks dropped), and subtracted in a separate line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio

from bench.children import Child, child
from bench.figures import Figure, at_most, of_rounds
from bench.fleet import alone
from bench.load import Window, running_fleet
from bench.server import Bench
from bench.sizes import Sizes

__all__ = ["RATE", "measure", "timer_us"]

RATE: Final = 20.0
_WARM_S: Final = 1.0
_GROUP: Final = "paced"


async def timer_us(process: Child, *, seconds: float, warm_s: float) -> float:
    """CPU per event of the models of `process`, an `alone`, whose chunks are dropped."""
    await process.ask("go")
    await anyio.sleep(warm_s)
    before = await process.ask("snapshot")
    await anyio.sleep(seconds)
    after = await process.ask("hold")
    return (after["cpu"] - before["cpu"]) / max(1, after["events"] - before["events"]) * 1e6


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"paced: starting {sizes.runs:,} runs")
    warm_s = min(_WARM_S, sizes.window_s)
    windows: list[Window] = []
    timers: list[float] = []
    async with (
        child(alone, {"runs": sizes.runs, "rate": RATE}, uvloop=True) as models,
        running_fleet(bench, prefix="paced", runs=sizes.runs, rate=RATE) as fleet,
    ):
        for number in range(sizes.rounds):
            say(f"paced: round {number + 1} of {sizes.rounds}")
            windows.append(await fleet.speak(sizes.window_s, warm_s=warm_s))
            timers.append(await timer_us(models, seconds=sizes.window_s, warm_s=warm_s))
    return _figures(windows, timers, runs=sizes.runs)


def _figures(windows: list[Window], timers: list[float], *, runs: int) -> list[Figure]:
    def line(name: str, values: list[float], unit: str, **more: Any) -> Figure:
        return of_rounds(_GROUP, name, values, unit, **more)

    worker = [window.worker_us for window in windows]
    return [
        line(
            "events received",
            [window.received for window in windows],
            "/s",
            note=f"{runs:,} runs at {RATE:.0f}/s, {runs * RATE:,.0f} events/s offered",
        ),
        line("worker CPU per event", worker, "µs", note="the model's timer included"),
        line("the model's own timer, alone", timers, "µs", note="the same models in a process that drops their chunks"),
        line(
            "worker, above the model's own timer",
            [one - timer for one, timer in zip(worker, timers, strict=True)],
            "µs",
            target=at_most(15),
            note="the two lines above, subtracted round by round",
        ),
        line("client CPU per event", [window.client_us for window in windows], "µs"),
        line("server CPU per event", [window.server_us for window in windows], "µs"),
        line("records per append call", [window.records_per_append for window in windows], ""),
        line("delay, median", [window.delay_p50_ms for window in windows], "ms"),
        line("delay, p99", [window.delay_p99_ms for window in windows], "ms"),
    ]
