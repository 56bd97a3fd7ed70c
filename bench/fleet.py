"""The fleet's side of the bench: a worker process whose model speaks at a set rate and puts the time into its text."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import msgpack

from bench.children import Talk, cpu_seconds
from playhead.runtime import Agent
from playhead.runtime.log.connection import connect
from playhead.runtime.log.redis import RedisLog
from playhead.runtime.models import chunks as c
from playhead.runtime.records import now_ms
from playhead.runtime.types import Chunk, Messages, ToolChoice, ToolSpec
from playhead.workers import Worker, WorkerOptions

__all__ = ["AGENT", "PacedModel", "clock_ns", "prompt", "stamped", "stamped_record", "worker"]

AGENT = "paced"


def clock_ns() -> int:
    """A clock that all processes of the machine share, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def stamped() -> str:
    """The text of a chunk: the time it was made at."""
    return str(clock_ns())


def stamped_record() -> bytes:
    """The bytes that a record of such a chunk has in the log, for yardsticks."""
    return msgpack.packb([1, now_ms(), stamped()]) or b""


def prompt(*, rate: float, count: int, held: bool = False) -> str:
    """What to ask `PacedModel` for: `count` chunks (0: until it is stopped) at `rate` a second, `held` until `go`."""
    return f"{rate} {count} {int(held)}"


class PacedModel:
    """Speaks as its prompt says; a chunk's text is the time it was yielded at, 19 digits at most.

    Late, it does not wait between chunks: then it is as fast as they are accepted.
    """

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.stopped = False

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of one answer."""
        rate, count, held = messages[-1].get("content", [])[0]["text"].split()
        yield c.message_start()
        yield c.block_start()
        if held == "1":
            await self.go.wait()
        pace, left = 1 / float(rate), int(count)
        due = time.monotonic() + pace * (time.perf_counter_ns() % 1000 / 1000)  # runs begin out of step
        while not self.stopped:
            if (pause := due - time.monotonic()) > 0:
                await anyio.sleep(pause)
            yield c.text_delta(stamped())
            due += pace
            left -= 1
            if not left:
                break
        yield c.block_stop()
        yield c.message_stop("end_turn")
        yield c.metadata(input_tokens=1, output_tokens=1, latency_ms=1)


async def worker(config: dict[str, Any], talk: Talk) -> None:
    """Role: a real worker as the command runs it. Asks: `snapshot`, `go` (held models), `stop` (all models)."""
    client = connect(config["url"], connections=4)
    model = PacedModel()
    running = Worker(
        [Agent(model, name=AGENT, callback_handler=None)],
        log=RedisLog(client, prefix=config["prefix"]),
        options=WorkerOptions(concurrency=config["concurrency"], grace_s=0),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.run)
        async for question in talk.questions():
            if question["ask"] == "go":
                model.go.set()
            elif question["ask"] == "stop":
                model.stopped = True
            counted = running.statistics()
            talk.answer(
                {
                    "cpu": cpu_seconds(),
                    "running": counted.running,
                    "appends": counted.appends,
                    "records": counted.records,
                }
            )
        tasks.cancel_scope.cancel()
    await client.aclose()
