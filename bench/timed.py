"""A worker process that stores when the records of some runs were sent, for `bench.overload`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import anyio

from bench.children import Talk
from bench.fleet import AGENT, PacedModel, clock_ns
from playhead.runtime import Agent
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, WriteResult
from playhead.workers import Worker, WorkerOptions

__all__ = ["timed_worker"]


class _TimedLog(RedisLog):
    """Stores when the records of some runs were first sent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sent: dict[str, dict[int, int]] = {}

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[WriteResult]]:
        """See `Log.append`."""
        now = clock_ns()
        for batch in batches:
            if (sent := self.sent.get(batch.run_id)) is not None:
                for seq in range(batch.head + 1, batch.head + 1 + len(batch.records)):
                    sent.setdefault(seq, now)
        return super().append(batches)


async def timed_worker(config: dict[str, Any], talk: Talk) -> None:
    """Role: a worker that stores the times of appends; its model is held at first if `held`.

    Asks: `counts`, `go` (with the `runs` whose times to store), `sent`.
    """
    model = PacedModel(held=config["held"])
    log = _TimedLog(connect(config["url"]), prefix=config["prefix"])
    options = WorkerOptions(concurrency=config["concurrency"], grace_s=0)
    running = Worker([Agent(model, name=AGENT, callback_handler=None)], log=log, options=options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.run)
        async for question in talk.questions():
            if question["ask"] == "sent":
                talk.answer([list(log.sent[run].items()) for run in question["runs"]])
                continue
            if question["ask"] == "go":
                log.sent = {run: {} for run in question["runs"]}
                model.go()
            counted = running.statistics()
            talk.answer({"running": counted.running, "records": counted.records})
        tasks.cancel_scope.cancel()
    await log.aclose()
