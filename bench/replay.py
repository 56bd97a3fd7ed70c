"""Replay: the events of a finished run as fast as they come, beside a bare `XRANGE` that only decodes msgpack."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgpack
from redis.asyncio import Redis

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, Sizes, median
from bench.seeding import append, claim_run, conversation, finish, opened_log
from bench.server import Bench
from playhead.client import Client

__all__ = ["measure", "reader"]

_PAGE = 1000


async def reader(config: dict[str, Any], talk: Talk) -> None:
    """Role: reads one run. Asks: `ours`, `bare` (`run`, `stream`); answers records, seconds and CPU seconds."""
    async with Client(config["url"], prefix=config["prefix"]) as client, Redis.from_url(config["url"]) as redis:
        async for question in talk.questions():
            began, cpu = time.monotonic(), cpu_seconds()
            if question["ask"] == "ours":
                records = await _ours(client, question["run"])
            else:
                records = await _bare(redis, question["stream"])
            talk.answer({"records": records, "s": time.monotonic() - began, "cpu": cpu_seconds() - cpu})


async def _ours(client: Client, run_id: str) -> int:
    last = 0
    async with aclosing(client.run(run_id).stream_async()) as events:
        async for event in events:
            last = event.seq
    return last


async def _bare(redis: Redis, stream: str) -> int:
    records, start = 0, "-"
    while True:
        page: Any = await redis.xrange(stream, start, "+", count=_PAGE)
        if not page:
            return records
        for _, fields in page:
            msgpack.unpackb(fields[b"r"])
        records += len(page)
        start = f"({page[-1][0].decode()}"


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"replay: writing {sizes.replay_records:,} records")
    async with opened_log(bench.url, prefix="replay") as log:
        claim = await claim_run(log)
        head = await append(log, claim, claim.head, conversation(sizes.replay_records - 10))
        await finish(log, claim, head)
        target = {"run": claim.run_id, "stream": log.keys.log(claim.run_id)}
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    cpu: dict[str, list[float]] = {"ours": [], "bare": []}
    async with child(reader, {"url": bench.url, "prefix": "replay"}, uvloop=False) as process:
        for number in range(sizes.replay_rounds):
            say(f"replay: round {number + 1} of {sizes.replay_rounds}")
            for what in ("ours", "bare"):
                told = await process.ask(what, **target)
                assert told["records"] == head + 1, f"{what}: {told['records']} of {head + 1} records"
                rates[what].append(told["records"] / told["s"])
                cpu[what].append(told["cpu"] / told["records"] * 1e6)
    yardstick = "XRANGE pages + msgpack"
    return [
        Figure(
            group="replay",
            name="records replayed",
            value=median(rates["ours"]),
            unit="/s",
            yardstick=median(rates["bare"]),
            yardstick_name=yardstick,
            target=("ratio", ">=", 0.8),
            note=f"one finished run of {head + 1:,} records, two events of each chunk yielded; the yardstick yields none",
        ),
        Figure(
            group="replay",
            name="CPU per record",
            value=median(cpu["ours"]),
            unit="µs",
            yardstick=median(cpu["bare"]),
            yardstick_name=yardstick,
        ),
    ]
