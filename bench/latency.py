"""Append → yield: the time of a chunk from the model in a worker process to the `data` event in this process.

Yardsticks: an `XADD` in another process, read by a blocked `XREAD` in this one; by redis-py, and over a bare
socket, which is the floor. The three alternate in each round. The writers run on uvloop like the worker, the readers on
asyncio; the payload is one record of the same size at the same rate.

redis-py gets `socket_timeout=None`: with the default it starts a timer for each read, which costs a fifth of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
import msgpack
from redis.asyncio import Redis

from bench.children import Child, Talk, child
from bench.figures import Figure, of_rounds, percentile, ratio_at_most
from bench.fleet import AGENT, clock_ns, prompt, stamped_record, worker
from bench.server import Bench
from bench.sizes import Sizes
from bench.sockets import opened_socket
from playhead.client import Client

__all__ = ["measure", "writer"]

_RATE: Final = 100.0
_STREAM: Final = "bench:latency"
_BLOCK_MS: Final = 1000
_MARGIN_S: Final = 20.0


async def writer(config: dict[str, Any], talk: Talk) -> None:
    """Role: writes the yardsticks' stream. Asks: `redis-py`, `socket` (`count` entries)."""
    async with Redis.from_url(config["url"], socket_timeout=None) as client, opened_socket(config["url"]) as socket:
        async for question in talk.questions():
            due = time.monotonic()
            for _ in range(question["count"]):
                due += 1 / _RATE
                await anyio.sleep(max(0, due - time.monotonic()))
                if question["ask"] == "redis-py":
                    await client.xadd(_STREAM, {"r": stamped_record()})
                else:
                    await socket.call("XADD", _STREAM, "*", "r", stamped_record())
            talk.answer()


def _age_us(record: bytes) -> float:
    return (clock_ns() - int(msgpack.unpackb(record)[2])) / 1000


async def _ours(client: Client, *, count: int) -> list[float]:
    """Microseconds from yield to yield, of every chunk of one run."""
    async with aclosing(client.stream_async(AGENT, prompt(rate=_RATE, count=count))) as events:
        return [(clock_ns() - int(event["data"])) / 1000 async for event in events if "data" in event]


async def _by_redis_py(url: str, *, count: int) -> list[float]:
    ages: list[float] = []
    last = b"0-0"
    async with Redis.from_url(url, protocol=2, socket_timeout=None) as reader:
        while len(ages) < count:
            answer: Any = await reader.xread({_STREAM: last}, block=_BLOCK_MS)
            for _, entries in answer:
                ages += [_age_us(fields[b"r"]) for _, fields in entries]
                last = entries[-1][0]
    return ages


async def _by_socket(url: str, *, count: int) -> list[float]:
    ages: list[float] = []
    last = b"0-0"
    async with opened_socket(url) as reader:
        while len(ages) < count:
            answer = await reader.call("XREAD", "BLOCK", _BLOCK_MS, "STREAMS", _STREAM, last)
            for _, entries in answer or ():
                ages += [_age_us(fields[1]) for _, fields in entries]
                last = entries[-1][0]
    return ages


_BARE: Final = {"redis-py": _by_redis_py, "socket": _by_socket}


async def _bare(bench: Bench, process: Child, way: str, *, count: int) -> list[float]:
    """Microseconds from the write to the reader, of every entry of one stream."""
    await bench.admin.delete(_STREAM)
    ages: list[float] = []
    with anyio.fail_after(count / _RATE + _MARGIN_S):
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                await process.ask(way, count=count)

            tasks.start_soon(write)
            ages += await _BARE[way](bench.url, count=count)
    return ages


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    count = max(10, round(sizes.latency_s * _RATE))
    taken: dict[str, list[list[float]]] = {"ours": [], **{way: [] for way in _BARE}}
    config = {"url": bench.url, "prefix": "latency", "concurrency": 10}
    async with (
        child(worker, config, uvloop=True) as fleet,
        child(writer, {"url": bench.url}, uvloop=True) as process,
        Client(bench.url, prefix="latency") as client,
    ):
        await fleet.ask("snapshot")
        await _ours(client, count=10)  # scripts loaded, code warm
        for way in _BARE:
            await _bare(bench, process, way, count=10)
        for number in range(sizes.rounds):
            say(f"latency: round {number + 1} of {sizes.rounds}")
            taken["ours"].append(await _ours(client, count=count))
            for way in _BARE:
                taken[way].append(await _bare(bench, process, way, count=count))
    return _figures(taken, count=count)


def _figures(taken: dict[str, list[list[float]]], *, count: int) -> list[Figure]:
    def rounds(who: str, percent: float) -> list[float]:
        return [percentile(ages, percent) for ages in taken[who]]

    note = f"one run at {_RATE:.0f} events/s, {count} chunks a round"
    middle = of_rounds("latency", "append→yield, median", rounds("ours", 50), "µs")
    high = of_rounds("latency", "append→yield, p99", rounds("ours", 99), "µs")
    bare, floor = "redis-py XADD → blocked XREAD, no socket timeout", "the floor: XADD → XREAD over a bare socket"
    return [
        middle.beside(rounds("redis-py", 50), bare, target=ratio_at_most(1), note=note),
        middle.beside(rounds("socket", 50), floor, called="the floor"),
        high.beside(rounds("redis-py", 99), bare),
        high.beside(rounds("socket", 99), floor, called="the floor"),
    ]
