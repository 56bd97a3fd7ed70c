"""Saturation: a thousand runs at once through one worker process and one client process that tails them all.

More is offered than the machine takes (1,000 runs of 100 chunks a second; a model that is late does not wait), and what
arrives is counted over windows in the steady state, each process by its own clock and its own CPU. An event here is one
`model.chunk` record, from the model's yield to the client's `data`; its raw event is counted with it, not beside it.

Yardstick: one bare awaited redis-py `XADD` per event over one connection, in one process, of the same bytes, before and
after. It is the same work with nothing around it: no fence, no loop, no reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import anyio
from redis.asyncio import Redis

from bench.children import Child, Talk, child, cpu_seconds
from bench.figures import Figure, Sizes, median
from bench.fleet import AGENT, clock_ns, prompt, stamped_record, worker
from bench.server import Bench, Counters
from playhead.client import Client
from playhead.client.run import Run

__all__ = ["bare", "measure", "viewer"]

_RATE = 100.0
_STREAM = "bench:saturated"
_SAMPLE = 64
_WARM_S = 2.0
_START_S = 60.0


async def bare(config: dict[str, Any], talk: Talk) -> None:
    """Role: the yardstick. Asks: `write` (for `seconds`, as fast as it can)."""
    async with Redis.from_url(config["url"]) as client:
        async for question in talk.questions():
            began, cpu, events = time.monotonic(), cpu_seconds(), 0
            while (took := time.monotonic() - began) < question["seconds"]:
                await client.xadd(_STREAM, {"r": stamped_record()})
                events += 1
            await client.delete(_STREAM)
            talk.answer({"rate": events / took, "cpu": (cpu_seconds() - cpu) / events})


class _Viewer:
    """Tails runs and counts what they say."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.held = 0
        self.all_held = anyio.Event()
        self.events = 0
        self.delays_ms: list[float] = []

    async def watch(self, run: Run, *, runs: int) -> None:
        async with aclosing(run.stream_async()) as events:
            async for event in events:
                if "data" in event:
                    self.events += 1
                    if self.events % _SAMPLE == 0:
                        self.delays_ms.append((clock_ns() - int(event["data"])) / 1e6)
                elif "messageStart" in event.get("event", ()):
                    self.held += 1
                    if self.held == runs:
                        self.all_held.set()

    def snapshot(self) -> dict[str, Any]:
        delays, self.delays_ms = self.delays_ms, []
        hub = self.client.statistics()
        return {
            "at": time.monotonic(),
            "cpu": cpu_seconds(),
            "events": self.events,
            "messages": hub.messages,
            "overflows": hub.overflows,
            "delay_ms": median(delays) if delays else 0.0,
        }


async def viewer(config: dict[str, Any], talk: Talk) -> None:
    """Role: a client that starts runs and tails them all. Asks: `snapshot`, `start` (`runs` at `rate`, until all are held)."""
    async with Client(config["url"], prefix=config["prefix"]) as client, anyio.create_task_group() as tasks:
        view = _Viewer(client)
        async for question in talk.questions():
            if question["ask"] == "start":
                wanted = prompt(rate=question["rate"], count=0, held=True)
                for _ in range(question["runs"]):
                    run = await client.start(AGENT, wanted)
                    tasks.start_soon(partial(view.watch, run, runs=question["runs"]))
                await view.all_held.wait()
            talk.answer(view.snapshot())
        tasks.cancel_scope.cancel()


class _Moment(NamedTuple):
    fleet: dict[str, Any]
    view: dict[str, Any]
    server: Counters


class _Window(NamedTuple):
    """Between two moments."""

    received: float
    """Events a second."""
    worker_us: float
    client_us: float
    server_us: float
    commands: float
    """Per event received."""
    records_per_append: float
    records_per_message: float
    delay_ms: float


async def _moment(bench: Bench, fleet: Child, view: Child) -> _Moment:
    return _Moment(await fleet.ask("snapshot"), await view.ask("snapshot"), await bench.counters())


def _between(a: _Moment, b: _Moment) -> _Window:
    events = b.view["events"] - a.view["events"]
    records = b.fleet["records"] - a.fleet["records"]
    return _Window(
        received=events / (b.view["at"] - a.view["at"]),
        worker_us=(b.fleet["cpu"] - a.fleet["cpu"]) / records * 1e6,
        client_us=(b.view["cpu"] - a.view["cpu"]) / events * 1e6,
        server_us=(b.server.cpu - a.server.cpu) / records * 1e6,
        commands=(b.server.commands - a.server.commands) / records,
        records_per_append=records / max(1, b.fleet["appends"] - a.fleet["appends"]),
        records_per_message=events / max(1, b.view["messages"] - a.view["messages"]),
        delay_ms=b.view["delay_ms"],
    )


async def _windows(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[_Window]:
    config = {"url": bench.url, "prefix": "saturated", "concurrency": sizes.runs}
    async with child(worker, config, uvloop=True) as fleet, child(viewer, config, uvloop=False) as view:
        await fleet.ask("snapshot")
        say(f"saturated: starting {sizes.runs} runs")
        with anyio.fail_after(_START_S):
            await view.ask("start", runs=sizes.runs, rate=_RATE)
        await fleet.ask("go")
        await anyio.sleep(min(_WARM_S, sizes.window_s))
        moments = [await _moment(bench, fleet, view)]
        for number in range(sizes.windows):
            say(f"saturated: window {number + 1} of {sizes.windows}")
            await anyio.sleep(sizes.window_s)
            moments.append(await _moment(bench, fleet, view))
        await fleet.ask("stop")
    return [_between(a, b) for a, b in pairwise(moments)]


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    fast: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    async with (
        child(bare, {"url": bench.url}, uvloop=True) as on_uvloop,
        child(bare, {"url": bench.url}, uvloop=False) as on_asyncio,
    ):

        async def yardstick() -> None:
            say("saturated: the yardstick")
            for process, results in ((on_uvloop, fast), (on_asyncio, plain)):
                results.append(await process.ask("write", seconds=min(2.0, sizes.window_s / 2)))

        await yardstick()
        windows = await _windows(bench, sizes, say)
        await yardstick()
    return _figures(windows, fast, plain, runs=sizes.runs)


def _figures(
    windows: list[_Window], fast: list[dict[str, float]], plain: list[dict[str, float]], *, runs: int
) -> list[Figure]:
    def line(name: str, value: float, unit: str, **more: Any) -> Figure:
        return Figure(group="saturated", name=name, value=value, unit=unit, **more)

    received = median([window.received for window in windows])
    return [
        line(
            "events received",
            received,
            "/s",
            yardstick=median([one["rate"] for one in plain]),
            yardstick_name="awaited XADD, asyncio",
            target=("ratio", ">=", 5.0),
            note=f"{runs} runs, {runs * _RATE:,.0f} events/s offered; an event is one model.chunk record",
        ),
        line(
            "events received, the harder yardstick",
            received,
            "/s",
            yardstick=median([one["rate"] for one in fast]),
            yardstick_name="awaited XADD, uvloop",
            note="the worker runs on uvloop, the client on asyncio",
        ),
        line(
            "worker CPU per event",
            median([window.worker_us for window in windows]),
            "µs",
            yardstick=median([one["cpu"] for one in fast]) * 1e6,
            yardstick_name="awaited XADD, uvloop",
            target=("value", "<=", 25.0),
            note="scripted model and loop included",
        ),
        line(
            "client CPU per event",
            median([window.client_us for window in windows]),
            "µs",
            target=("value", "<=", 20.0),
            note="projection included, both events of a chunk yielded",
        ),
        line("server CPU per event", median([window.server_us for window in windows]), "µs"),
        line("records per append call", median([window.records_per_append for window in windows]), ""),
        line("records per published message", median([window.records_per_message for window in windows]), ""),
        line(
            "delay at saturation, median",
            median([window.delay_ms for window in windows]),
            "ms",
            note="model's yield to client's yield; buffers are full by intent",
        ),
        line(
            "commands per event",
            median([window.commands for window in windows]),
            "",
            target=("value", "<=", 0.1),
        ),
    ]
