"""Append → yield: how long a chunk takes from the model in a worker process to the `data` event in this one.

Yardstick: a bare redis-py `XADD` in another process, read by a blocked `XREAD` in this one. Rounds alternate, both
writers run on the same kind of event loop, both payloads are one record of the same size at the same rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
import msgpack
from redis.asyncio import Redis

from bench.children import Child, Talk, child
from bench.figures import Figure, Sizes, median, percentile
from bench.fleet import AGENT, clock_ns, prompt, stamped_record, worker
from bench.server import Bench
from playhead.client import Client

__all__ = ["measure", "writer"]

_RATE = 100.0
_STREAM = "bench:latency"
_MARGIN_S = 10.0


async def writer(config: dict[str, Any], talk: Talk) -> None:
    """Role: writes the yardstick's stream. Asks: `write` (`count` entries at `rate` a second)."""
    async with Redis.from_url(config["url"]) as client:
        async for question in talk.questions():
            due = time.monotonic()
            for _ in range(question["count"]):
                due += 1 / question["rate"]
                await anyio.sleep(max(0, due - time.monotonic()))
                await client.xadd(_STREAM, {"r": stamped_record()})
            talk.answer()


async def _ours(client: Client, *, count: int) -> list[float]:
    """Microseconds from yield to yield, of every chunk of one run."""
    async with aclosing(client.stream_async(AGENT, prompt(rate=_RATE, count=count))) as events:
        return [(clock_ns() - int(event["data"])) / 1000 async for event in events if "data" in event]


async def _bare(bench: Bench, process: Child, *, count: int) -> list[float]:
    taken: list[float] = []
    await bench.admin.delete(_STREAM)
    last = b"0-0"
    async with Redis.from_url(bench.url, protocol=2) as reader, anyio.create_task_group() as tasks:
        await reader.ping()

        async def write() -> None:
            await process.ask("write", count=count, rate=_RATE)

        tasks.start_soon(write)
        with anyio.fail_after(count / _RATE + _MARGIN_S):
            while len(taken) < count:
                answer: Any = await reader.xread({_STREAM: last}, block=1000)
                for _, entries in answer:
                    taken += [(clock_ns() - int(msgpack.unpackb(fields[b"r"])[2])) / 1000 for _, fields in entries]
                    last = entries[-1][0]
    return taken


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    count = max(10, round(sizes.latency_s * _RATE))
    ours: list[float] = []
    bare: list[float] = []
    config = {"url": bench.url, "prefix": "latency", "concurrency": 10}
    async with (
        child(worker, config, uvloop=True) as fleet,
        child(writer, {"url": bench.url}, uvloop=True) as process,
        Client(bench.url, prefix="latency") as client,
    ):
        await fleet.ask("snapshot")
        await _ours(client, count=10)  # scripts loaded, code warm
        await _bare(bench, process, count=10)
        for number in range(sizes.latency_rounds):
            say(f"latency: round {number + 1} of {sizes.latency_rounds}")
            ours += await _ours(client, count=count)
            bare += await _bare(bench, process, count=count)
    yardstick = "bare XADD → blocked XREAD"
    return [
        Figure(
            group="latency",
            name="append→yield, median",
            value=median(ours),
            unit="µs",
            yardstick=median(bare),
            yardstick_name=yardstick,
            target=("ratio", "<=", 1.5),
            note=f"one run at {_RATE:.0f} events/s, {len(ours)} chunks each",
        ),
        Figure(
            group="latency",
            name="append→yield, p99",
            value=percentile(ours, 99),
            unit="µs",
            yardstick=percentile(bare, 99),
            yardstick_name=yardstick,
        ),
    ]
