"""The fleet's side of the bench: a worker process whose model streams at a set rate and puts the time into its text."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import msgpack

from bench.children import Talk, cpu_seconds, rss_bytes
from playhead.runtime import Agent
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.records import now_ms
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import chunks as c
from playhead.workers import Worker, WorkerOptions

__all__ = ["AGENT", "WORKER_NAME", "PacedModel", "alone", "clock_ns", "prompt", "stamped", "stamped_record", "worker"]

AGENT = "paced"
WORKER_NAME = "bench-worker"
"""The name of its connections, for `CLIENT LIST`."""


def clock_ns() -> int:
    """A clock that all processes of the machine share, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def stamped() -> str:
    """The text of a chunk: the time at which it is made."""
    return str(clock_ns())


def stamped_record() -> bytes:
    """The stored form of such a chunk's record, for yardsticks."""
    return msgpack.packb([1, now_ms(), stamped()]) or b""


def prompt(*, rate: float, count: int = 0) -> str:
    """Make a prompt for `PacedModel`: `count` chunks (0: until it is stopped) at `rate` a second."""
    return f"{rate} {count}"


class PacedModel:
    """Streams as its prompt says; a chunk's text is the time at which it is yielded, 19 digits at most.

    If it is late, it does not wait between chunks, and is as fast as they are accepted. While it is held, each call
    starts its message and yields no text; chunks that were due meanwhile are skipped.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.stopped = False
        self._held = held
        self._gate = anyio.Event()

    def hold(self) -> None:
        """Yield no text from the next chunk on."""
        if not self._held:
            self._held, self._gate = True, anyio.Event()

    def go(self) -> None:
        """Yield text again."""
        self._held = False
        self._gate.set()

    def stop(self) -> None:
        """End all messages."""
        self.stopped = True
        self.go()

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of one message."""
        rate, count = messages[-1].get("content", [])[0]["text"].split()
        yield c.message_start()
        yield c.block_start()
        pace, left = 1 / float(rate), int(count)
        due = _first_due(pace)
        while not self.stopped:
            if self._held:
                await self._gate.wait()
                due = _first_due(pace)
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


def _first_due(pace: float) -> float:
    """When the next chunk is due: within one pace, so that runs that start together do not stream in step."""
    return time.monotonic() + pace * (time.perf_counter_ns() % 1000 / 1000)


def _obey(model: PacedModel, question: str) -> None:
    """Pass `hold`, `go` and `stop` to the model, and ignore other questions."""
    if question == "hold":
        model.hold()
    elif question == "go":
        model.go()
    elif question == "stop":
        model.stop()


async def worker(config: dict[str, Any], talk: Talk) -> None:
    """Role: a real worker as the command runs it; its model is held at first if `held`.

    Asks: `snapshot`, `hold`, `go`, `stop`; each is answered with a snapshot.
    """
    client = connect(f"{config['url']}?client_name={WORKER_NAME}")
    model = PacedModel(held=config.get("held", False))
    running = Worker(
        [Agent(model, name=AGENT, callback_handler=None)],
        log=RedisLog(client, prefix=config["prefix"]),
        options=WorkerOptions(concurrency=config["concurrency"], grace_s=0),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.run)
        async for question in talk.questions():
            _obey(model, question["ask"])
            counted = running.statistics()
            talk.answer(
                {
                    "cpu": cpu_seconds(),
                    "rss": rss_bytes(),
                    "running": counted.running,
                    "appends": counted.appends,
                    "records": counted.records,
                    "renewals": counted.renewals,
                }
            )
        tasks.cancel_scope.cancel()
    await client.aclose()


async def alone(config: dict[str, Any], talk: Talk) -> None:
    """Role: `runs` calls of the model at `rate` whose chunks are dropped: the cost of the model itself.

    Asks: `snapshot`, `hold`, `go`; each is answered with a snapshot.
    """
    model = PacedModel(held=True)
    asked: Messages = [{"role": "user", "content": [{"text": prompt(rate=config["rate"])}]}]
    events = 0

    async def listen() -> None:
        nonlocal events
        async with aclosing(model.stream(asked)) as chunks:
            async for _ in chunks:
                events += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(config["runs"]):
            tasks.start_soon(listen)
        async for question in talk.questions():
            _obey(model, question["ask"])
            talk.answer({"cpu": cpu_seconds(), "events": events})
        tasks.cancel_scope.cancel()
