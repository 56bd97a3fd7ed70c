"""Tails: many open at once in one client process; its connections, its memory, and how long opening takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio

from bench.children import Talk, child, rss_bytes
from bench.figures import Figure, Sizes
from bench.seeding import append, claim_run, conversation, opened_log
from bench.server import Bench
from playhead.client import Client
from playhead.runtime.log.base import Claim
from playhead.runtime.log.redis import RedisLog

__all__ = ["measure", "viewer"]

_NAME = "bench-tails"
_LIMIT_S = 120.0


async def viewer(config: dict[str, Any], talk: Talk) -> None:
    """Role: opens a tail on each of `runs`. Asks: `open`, and `woken` once each has been written to."""
    url = f"{config['url']}?client_name={_NAME}"
    seen = 0
    reached = anyio.Event()
    wanted = 0

    async def watch(run_id: str) -> None:
        nonlocal seen
        async with aclosing(client.run(run_id).stream_async()) as events:
            async for event in events:
                if "init_event_loop" in event or "data" in event:
                    seen += 1
                    if seen == wanted:
                        reached.set()

    async with Client(url, prefix=config["prefix"]) as client, anyio.create_task_group() as tasks:
        async for question in talk.questions():
            before, began = rss_bytes(), time.monotonic()
            if question["ask"] == "open":
                wanted = len(question["runs"])
                for run_id in question["runs"]:
                    tasks.start_soon(watch, run_id)
            with anyio.fail_after(_LIMIT_S):
                await reached.wait()
            talk.answer({"s": time.monotonic() - began, "rss": rss_bytes() - before})
            reached, wanted = anyio.Event(), 2 * wanted
        tasks.cancel_scope.cancel()


async def _seed(log: RedisLog, count: int) -> list[tuple[Claim, int]]:
    """`count` running runs whose model call has begun: their claims and heads."""
    runs: list[tuple[Claim, int]] = []
    for _ in range(count):
        claim = await claim_run(log)
        runs.append((claim, await append(log, claim, claim.head, conversation(0)[:2])))
    return runs


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"tails: {sizes.tails:,} runs")
    async with opened_log(bench.url, prefix="tails") as log:
        runs = await _seed(log, sizes.tails)
        token = conversation(1)[4:5]
        async with child(viewer, {"url": bench.url, "prefix": "tails"}, uvloop=False) as process:
            say(f"tails: opening {sizes.tails:,}")
            opened = await process.ask("open", runs=[claim.run_id for claim, _ in runs])
            connections = sum(client.get("name") == _NAME for client in await bench.clients())
            began = time.monotonic()
            for claim, head in runs:
                await append(log, claim, head, token)
            wrote = time.monotonic() - began
            await process.ask("woken")
            woken = time.monotonic() - began
    return _figures(sizes.tails, opened, connections, wrote, woken)


def _figures(tails: int, opened: dict[str, float], connections: int, wrote: float, woken: float) -> list[Figure]:
    return [
        Figure(
            group="tails",
            name=f"connections, {tails:,} open tails",
            value=connections,
            unit="",
            target=("value", "<=", 2.0),
            note="counted by CLIENT LIST; one shard",
        ),
        Figure(
            group="tails",
            name="time to open all",
            value=opened["s"],
            unit="s",
            note="until each tail has yielded its first event",
        ),
        Figure(group="tails", name="memory per tail", value=opened["rss"] / tails / 1024, unit="KiB"),
        Figure(
            group="tails",
            name="one chunk to each, lag of the last",
            value=woken - wrote,
            unit="s",
        ),
    ]
