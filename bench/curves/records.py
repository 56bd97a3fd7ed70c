"""Records: one log that grows to a million records, in messages of 500 tokens each.

Attach joins at a token in the middle of the log and waits for the next event; fold reads all records and computes the
state that a worker continues from; replay yields all events. Each is measured as the reader's CPU, and as time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from bench.children import Child, Talk, child, cpu_seconds
from bench.curves.curve import Point
from bench.curves.sizes import CurveSizes
from bench.seeding import long_log, opened_log
from bench.server import Bench
from playhead.client import Client, Run
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.state import initial

__all__ = ["measure", "reader"]

_PREFIX: Final = "records"
_ANSWER: Final = 500
_ATTACHES: Final = 20


async def _attach(run: Run, records: int) -> int:
    """Join in the middle, one record further each time, like readers that rejoin."""
    for number in range(_ATTACHES):
        async with aclosing(run.stream_async(after=records // 2 + number)) as events:
            async for _ in events:
                break
    return _ATTACHES


async def _fold(run: Run, records: int) -> int:
    del records
    state, count = initial(), 0
    async with aclosing(run.records()) as entries:
        async for entry in entries:
            state, count = evolve(state, entry), count + 1
    assert state.messages, "the log held no answer"
    return count


async def _replay(run: Run, records: int) -> int:
    last = 0
    async with aclosing(run.stream_async()) as events:
        async for event in events:
            last = event.seq
    assert last == records, f"replayed {last} of {records} records"
    return last


_WAYS: Final[dict[str, Callable[[Run, int], Awaitable[int]]]] = {"attach": _attach, "fold": _fold, "replay": _replay}


async def reader(config: dict[str, Any], talk: Talk) -> None:
    """Role: reads a log. Asks: `attach`, `fold`, `replay` (`run`, `records`); answers seconds and CPU seconds."""
    async with Client(config["url"], prefix=_PREFIX) as client:
        async for question in talk.questions():
            began, cpu = time.monotonic(), cpu_seconds()
            done = await _WAYS[question["ask"]](client.run(question["run"]), question["records"])
            talk.answer({"s": (time.monotonic() - began) / done, "cpu": (cpu_seconds() - cpu) / done})


async def measure(bench: Bench, sizes: CurveSizes, say: Callable[[str], None]) -> list[Point]:
    """The points of the curve."""
    points: list[Point] = []
    async with child(reader, {"url": bench.url}, uvloop=False) as process:
        async for run_id, records, used in _logs(bench, sizes, say):
            say(f"records: reading {records:,}")
            if not points:
                await _point(process, run_id, records)  # code warm
            points.append({"records": records, "bytes": used / records, **await _point(process, run_id, records)})
    return points


async def _logs(
    bench: Bench, sizes: CurveSizes, say: Callable[[str], None]
) -> AsyncGenerator[tuple[str, int, int], None]:
    """A finished run of each size: its id, its records, the bytes of its stream. The next one replaces it."""
    for size in sizes.records:
        say(f"records: writing {size:,}")
        async with opened_log(bench.url, prefix=_PREFIX) as log:
            run_id, records = await long_log(log, size, answer=min(_ANSWER, size // 2))
            used = await bench.admin.memory_usage(log.keys.log(run_id), samples=0)
        yield run_id, records, used or 0
        await bench.clear()


async def _point(process: Child, run_id: str, records: int) -> dict[str, float]:
    async def ask(way: str) -> dict[str, float]:
        return await process.ask(way, run=run_id, records=records)

    attach, fold, replay = await ask("attach"), await ask("fold"), await ask("replay")
    return {
        "attach_ms": attach["s"] * 1000,
        "attach_cpu_ms": attach["cpu"] * 1000,
        "fold_us": fold["cpu"] * 1e6,
        "fold_s": fold["s"] * records,
        "replay_us": replay["cpu"] * 1e6,
        "replay_s": replay["s"] * records,
    }
