"""Saturation: a thousand runs at once through one worker process and one client process that tails them all.

The load is higher than the machine's capacity (1,000 runs of 300 chunks a second; a model that is late does not wait),
and received events are counted over windows in the steady state. Between the windows the models are held, and the
yardsticks write.

Yardsticks: bare redis-py `XADD`s of the same bytes on uvloop, in pipelines of 600, as many as the worker sends at once
(the hard one), or each awaited (the weak one). It is the same work without fence, loop or reader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.children import Child, child
from bench.figures import Figure, at_least, at_most, median, of_rounds, ratio_at_most
from bench.load import Fleet, Window, running_fleet
from bench.server import Bench
from bench.sizes import Sizes
from bench.writes import writes

__all__ = ["measure"]

_RATE: Final = 300.0
_WARM_S: Final = 1.0
_GROUP: Final = "saturated"


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"saturated: starting {sizes.runs:,} runs")
    windows: list[Window] = []
    piped: list[dict[str, float]] = []
    awaited: list[dict[str, float]] = []
    async with (
        child(writes, {"url": bench.url}, uvloop=True) as yardstick,
        running_fleet(bench, prefix="saturated", runs=sizes.runs, rate=_RATE) as fleet,
    ):
        for number in range(sizes.rounds):
            say(f"saturated: round {number + 1} of {sizes.rounds}")
            await _round(fleet, yardstick, sizes, windows, piped, awaited)
    return [*_against(windows, piped, awaited, runs=sizes.runs), *_beside(windows)]


async def _round(
    fleet: Fleet,
    yardstick: Child,
    sizes: Sizes,
    windows: list[Window],
    piped: list[dict[str, float]],
    awaited: list[dict[str, float]],
) -> None:
    windows.append(await fleet.speak(sizes.window_s, warm_s=min(_WARM_S, sizes.window_s)))
    piped.append(await yardstick.ask("pipeline", seconds=sizes.yardstick_s))
    awaited.append(await yardstick.ask("awaited", seconds=sizes.yardstick_s))


def _against(
    windows: list[Window], piped: list[dict[str, float]], awaited: list[dict[str, float]], *, runs: int
) -> list[Figure]:
    hard, weak = "redis-py pipelines of 600 XADDs, uvloop", "one awaited redis-py XADD after the other, uvloop"
    received = of_rounds(
        _GROUP,
        "events received",
        [window.received for window in windows],
        "/s",
        target=at_least(100_000),
        note=f"{runs:,} runs, {runs * _RATE:,.0f} events/s offered; an event is one model.chunk record",
    )
    worker = of_rounds(
        _GROUP,
        "worker CPU per event",
        [window.worker_us for window in windows],
        "µs",
        target=at_most(5),
        note="scripted model and loop included, on uvloop",
    )
    return [
        received,
        received.beside([one["rate"] for one in awaited], weak, called="weak yardstick"),
        worker,
        worker.beside([one["us"] for one in piped], hard, called="hard yardstick", target=ratio_at_most(0.55)),
        worker.beside([one["us"] for one in awaited], weak, called="weak yardstick"),
        of_rounds(
            _GROUP,
            "client CPU per event",
            [window.client_us for window in windows],
            "µs",
            target=at_most(3),
            note="projection included, both events of a chunk yielded, on asyncio",
        ),
        of_rounds(_GROUP, "server CPU per event", [window.server_us for window in windows], "µs", target=at_most(3.5)),
    ]


def _beside(windows: list[Window]) -> list[Figure]:
    def line(name: str, values: list[float], unit: str, **more: Any) -> Figure:
        return of_rounds(_GROUP, name, values, unit, **more)

    return [
        line("commands per event", [window.commands for window in windows], "", target=at_most(0.1)),
        line("records per append call", [window.records_per_append for window in windows], ""),
        line("records per published message", [window.records_per_message for window in windows], ""),
        line(
            "delay, median",
            [window.delay_p50_ms for window in windows],
            "ms",
            note="model's yield to client's yield; the buffers are full on purpose",
        ),
        line("delay, p99", [window.delay_p99_ms for window in windows], "ms"),
        Figure(
            group=_GROUP,
            name="cores used by all three",
            value=median(
                [(window.worker_s + window.client_s + window.server_s) / window.seconds for window in windows]
            ),
            unit="",
            note="if below the machine's cores: another program was running, or one of the three is the limit",
        ),
    ]
