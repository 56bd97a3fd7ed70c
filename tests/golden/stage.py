"""Where the golden logs are recorded: a server with real workers, and the agent of all scenarios."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from playhead.client import Client, Run
from playhead.runtime import (
    Agent,
    ToolContext,
    tool,
)
from playhead.runtime.agent.serving import Servable
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.records import ModelChunk
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import ScriptedModel, text_call
from playhead.runtime.models import chunks as c
from playhead.workers import Worker, WorkerOptions

__all__ = [
    "Scenario",
    "Hanging",
    "PERSON",
    "PLAIN",
    "PREFIX",
    "Stage",
    "TOOLS",
    "agent",
    "broken",
    "dangling",
    "guarded",
    "indexed",
    "pay",
    "steps",
    "streamed",
    "thinking",
]

PREFIX: Final = "golden"


@tool
async def steps(n: int) -> AsyncGenerator[Any, None]:
    """Count the steps."""
    for step in range(n):
        yield {"step": step, "raw": b"\x00\xff"}
    yield f"{n} steps"


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("nothing works: 💥")


@tool
def pay(euros: int, context: ToolContext) -> str:
    """Pay, if a human agrees."""
    return f"{euros}: {context.interrupt('approve', {'euros': euros})}"


TOOLS: Final = (steps, broken, pay)
PERSON: Final = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
PLAIN: Final[Sequence[Chunk]] = text_call("Hello there, Größe 🌞.")


def indexed(chunks: Sequence[Chunk], index: int) -> list[Chunk]:
    """The chunks with their block's number, as some providers send it."""
    return [{kind: {**value, "contentBlockIndex": index}} for chunk in chunks for kind, value in chunk.items()]


def thinking() -> list[Chunk]:
    """A message with reasoning, its signature, and a text, all with indices."""
    reasoning = [
        {"contentBlockDelta": {"delta": {"reasoningContent": part}}} for part in ({"text": "Hm."}, {"signature": "s"})
    ]
    blocks = [*indexed([c.block_start(), *reasoning, c.block_stop()], 0), *indexed(PLAIN[1:-2], 1)]
    return [
        c.message_start(),
        *blocks,
        c.message_stop("end_turn"),
        c.metadata(input_tokens=1, output_tokens=2, latency_ms=3),
    ]


def guarded() -> list[Chunk]:
    """A message of a guardrail that withdraws the prompt."""
    return [c.message_start(), {"redactContent": {"redactUserContentMessage": "[withdrawn]"}}, *PLAIN[1:]]


def dangling() -> Messages:
    """A history that ends in a call without a result."""
    use = {"toolUseId": "t0", "name": "steps", "input": {"n": 1}}
    return [{"role": "assistant", "content": [{"toolUse": use}]}]


def agent(*scripts: Any, **options: Any) -> Agent:
    """The agent of all scenarios, with what its model sends call by call, or with another model."""
    given: dict[str, Any] = {"name": "agent", "tools": TOOLS, "system_prompt": "Be brief.", "callback_handler": None}
    given["model"] = ScriptedModel(scripts, continues_partial=True)
    return Agent(**(given | options))


class Hanging(ScriptedModel):
    """Sends the beginning of a message, and then nothing."""

    def __init__(self) -> None:
        super().__init__([], continues_partial=True)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        """The beginning."""
        for chunk in text_call("Hello there, Ada")[:-3]:
            yield chunk
        await anyio.sleep_forever()


async def streamed(run: Run, *, times: int) -> None:
    """Wait until all that `Hanging` sends in so many calls is stored."""
    async for entry in run.records():
        chunk = entry.record.chunk if isinstance(entry.record, ModelChunk) else {}
        times -= chunk.get("contentBlockDelta", {}).get("delta") == {"text": " Ada"}
        if not times:
            return


class Stage:
    """An empty server with a client."""

    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self.client = client

    @asynccontextmanager
    async def worker(self, served: Servable, *, dies: bool = False) -> AsyncGenerator[None]:
        """A worker; at the end of the block it is drained, or stops as one that is killed."""
        log = RedisLog(connect(self.url), prefix=PREFIX)
        worker = Worker([served], log=log, name="worker", options=WorkerOptions(lease_ms=2000, grace_s=0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            yield
            if dies:
                tasks.cancel_scope.cancel()
            else:
                worker.drain()
        await log.aclose()

    async def asked(self, prompt: Any = "Hi", **options: Any) -> Run:
        return await self.client.start("agent", prompt, session_id="ada", **options)

    async def ended(self, run: Run) -> Run:
        """The run, after its end."""
        async for _ in run.records():
            pass
        return run

    async def alone(self, served: Agent, prompt: Any = "Hi", **options: Any) -> Run:
        """A run that one worker executes."""
        async with self.worker(served):
            return await self.ended(await self.asked(prompt, **options))


Scenario = Callable[[Stage], Awaitable[Run]]
