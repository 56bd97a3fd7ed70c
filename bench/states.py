"""States: the state of a finished run near its end, and at the records before it one by one.

Yardstick: one fold of the whole log, read as a worker reads it. The step back is wall time, because a person waits for it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, at_most, of_rounds, ratio_at_most
from bench.seeding import long_log, opened_log
from bench.server import Bench
from bench.sizes import Sizes
from playhead.client import Client
from playhead.runtime.core.evolve import fold
from playhead.runtime.log.reading import read_all
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["measure", "reader"]

_PREFIX: Final = "states"
_STEPS: Final = 50
_ANSWER: Final = 500


async def reader(config: dict[str, Any], talk: Talk) -> None:
    """Role: reads one run. Asks: `fold`, `state` (`run`, `records`); answers CPU seconds, and the seconds of a step."""
    log = RedisLog(connect(config["url"]), prefix=_PREFIX)
    async with Client(config["url"], prefix=_PREFIX) as client:
        async for question in talk.questions():
            run_id, records = question["run"], question["records"]
            gc.collect()
            cpu = cpu_seconds()
            if question["ask"] == "fold":
                fold(await read_all(log, run_id, head=records))
                talk.answer({"cpu": cpu_seconds() - cpu})
                continue
            states = client.run(run_id).states()
            await states.at(records - 1)
            cpu, began = cpu_seconds() - cpu, time.monotonic()
            for back in range(_STEPS):
                await states.at(records - 2 - back)
            talk.answer({"cpu": cpu, "step": (time.monotonic() - began) / _STEPS})
    await log.aclose()


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"states: writing {sizes.replay_records:,} records")
    async with opened_log(bench.url, prefix=_PREFIX) as log:
        answer = min(_ANSWER, sizes.replay_records // 2)
        run_id, records = await long_log(log, sizes.replay_records, answer=answer)
    folds: list[float] = []
    states: list[float] = []
    steps: list[float] = []
    async with child(reader, {"url": bench.url}, uvloop=False) as process:
        for number in range(sizes.rounds):
            say(f"states: round {number + 1} of {sizes.rounds}")
            folds.append((await process.ask("fold", run=run_id, records=records))["cpu"] * 1000)
            told = await process.ask("state", run=run_id, records=records)
            states.append(told["cpu"] * 1000)
            steps.append(told["step"] * 1000)
    note = f"one finished run of {records:,} records"
    state = of_rounds("states", "CPU for the state at a record", states, "ms")
    return [
        state.beside(folds, "one fold of all records", target=ratio_at_most(2), note=note),
        of_rounds("states", "a step back to the record before it", steps, "ms", target=at_most(10)),
    ]
