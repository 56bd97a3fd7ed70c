"""Tails: many open at once in one client process; its connections, its memory, and how long opening takes.

In each round a new process opens them all on the same running runs, whose logs grow by one chunk per round.
Yardstick for the memory: the same number of waiting tasks in another process, because each reader of a tail is a task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

import anyio

from bench.children import Talk, child, cpu_seconds, rss_bytes
from bench.figures import Figure, at_most, of_rounds
from bench.seeding import SeededRun, append_to_each, conversation, opened_log, running_runs
from bench.server import Bench
from bench.sizes import Sizes
from bench.viewer import CLIENT_NAME
from playhead.client import Client
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["measure", "open_tails", "tasks_that_wait"]

_LIMIT_S: Final = 120.0
_PREFIX: Final = "tails"


class _Audience:
    """One tail on each of many runs, and a count of the events they have yielded: the start of the run, and each chunk."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = self._wanted = 0
        self._reached = anyio.Event()

    async def watch(self, run_id: str) -> None:
        async with aclosing(self._client.run(run_id).stream_async()) as events:
            async for event in events:
                if "init_event_loop" in event or "data" in event:
                    self._seen += 1
                    if self._seen == self._wanted:
                        self._reached.set()

    async def seen(self, events: int) -> None:
        """Wait until that many events have been yielded in total.

        Raises:
            TimeoutError: If that takes too long.
        """
        self._reached, self._wanted = anyio.Event(), events
        if self._seen < events:
            with anyio.fail_after(_LIMIT_S):
                await self._reached.wait()


async def open_tails(config: dict[str, Any], talk: Talk) -> None:
    """Role: opens one tail on each of `runs`. Asks: `open`, `wait` (both until the tails have yielded `events` in all),
    `snapshot`; answers seconds, and the memory and CPU that the process has used."""
    url = f"{config['url']}?client_name={CLIENT_NAME}"
    async with Client(url, prefix=config["prefix"]) as client, anyio.create_task_group() as tasks:
        audience = _Audience(client)
        async for question in talk.questions():
            began = time.monotonic()
            if question["ask"] == "open":
                for run_id in question["runs"]:
                    tasks.start_soon(audience.watch, run_id)
            if question["ask"] != "snapshot":
                await audience.seen(question["events"])
            talk.answer({"s": time.monotonic() - began, "rss": rss_bytes(), "cpu": cpu_seconds()})
        tasks.cancel_scope.cancel()


async def tasks_that_wait(config: dict[str, Any], talk: Talk) -> None:
    """Role: the yardstick. Asks: `open` (`count`); answers how many bytes the process has grown."""
    del config
    async with anyio.create_task_group() as tasks:
        async for question in talk.questions():
            before = rss_bytes()
            for _ in range(question["count"]):
                tasks.start_soon(anyio.sleep_forever)
            await anyio.wait_all_tasks_blocked()
            talk.answer(rss_bytes() - before)
        tasks.cancel_scope.cancel()


async def _round(bench: Bench, log: RedisLog, runs: list[SeededRun], *, number: int) -> dict[str, float]:
    """Open a tail on each run, then write a chunk to each."""
    config = {"url": bench.url, "prefix": _PREFIX}
    async with child(tasks_that_wait, {}, uvloop=False) as process:
        task = await process.ask("open", count=len(runs))
    async with child(open_tails, config, uvloop=False) as process:
        before = await process.ask("snapshot")
        names = [run.id for run in runs]
        opened = await process.ask("open", runs=names, events=number * len(runs))
        connections = sum(client.get("name") == CLIENT_NAME for client in await bench.clients())
        began = time.monotonic()
        await append_to_each(log, runs, conversation(1)[4:5])
        wrote = time.monotonic() - began
        await process.ask("wait", events=(number + 1) * len(runs))
        woken = time.monotonic() - began
    return {
        "connections": connections,
        "kib": (opened["rss"] - before["rss"]) / len(runs) / 1024,
        "task_kib": task / len(runs) / 1024,
        "open_s": opened["s"],
        "lag_s": woken - wrote,
    }


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"tails: {sizes.tails:,} runs")
    rounds: list[dict[str, float]] = []
    async with opened_log(bench.url, prefix=_PREFIX) as log:
        runs = await running_runs(log, sizes.tails)
        for number in range(1, sizes.rounds + 1):
            say(f"tails: round {number} of {sizes.rounds}")
            rounds.append(await _round(bench, log, runs, number=number))
    return _figures(rounds, tails=sizes.tails)


def _figures(rounds: list[dict[str, float]], *, tails: int) -> list[Figure]:
    def line(name: str, key: str, unit: str, **more: Any) -> Figure:
        return of_rounds("tails", name, [one[key] for one in rounds], unit, **more)

    memory = line("memory per tail", "kib", "KiB", target=at_most(8.5), note="the task that reads it included")
    beside = memory.beside([one["task_kib"] for one in rounds], "a task that waits, alone", called="beside a bare task")
    return [
        line(
            f"connections, {tails:,} open tails",
            "connections",
            "",
            target=at_most(2),
            note="counted by CLIENT LIST; one shard",
        ),
        memory,
        beside,
        line("time to open all", "open_s", "s", note="until each tail has yielded its first event"),
        line("one chunk to each, lag of the last", "lag_s", "s"),
    ]
