"""A run whose owners crashed in a row gets on when what ran has completed; until then, after two, it is held alone."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from playhead.client import Client
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.records import RunClaimed
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.workers import Worker, WorkerOptions

__all__: list[str] = []

pytestmark = pytest.mark.anyio


CLAIM = {"suspect": encode_record(RunClaimed(at=0, worker="dead"))}


async def die_with(log: RedisLog, run_id: str) -> None:
    """One worker claims the run and dies."""
    assert await log.claim(CLAIM, worker="dead", token=new_token(), lease_ms=60_000)
    assert await log.bury("dead", ended="was killed by SIGKILL") == [run_id]


async def test_a_busy_worker_hands_its_runs_over_to_hold_a_suspect_alone(redis_url: str, prefix: str) -> None:
    going_on = anyio.Event()
    held: list[int] = []

    @tool
    async def step() -> str:
        """One of many steps, until the suspect has run."""
        await anyio.sleep(0.05)
        return "done"

    def steps(messages: Messages) -> Any:
        return "All done." if going_on.is_set() else tool_call("step", {}, f"t{len(messages)}")

    def looks(messages: Messages) -> Any:
        held.append(worker.statistics().running)
        going_on.set()
        return "Done."

    busy = Agent(name="busy", model=ScriptedModel([steps], repeat=True), tools=[step], callback_handler=None)
    suspect = Agent(name="suspect", model=ScriptedModel([looks], repeat=True), callback_handler=None)
    log = RedisLog(connect(redis_url), prefix=prefix)
    worker = Worker([busy, suspect], log=log, options=WorkerOptions(lease_ms=2000, grace_s=0))
    with anyio.fail_after(40):
        async with Client(redis_url, prefix=prefix) as client, anyio.create_task_group() as tasks:
            feared = await client.start("suspect", "Go")
            await die_with(log, feared.id)
            assert await log.claim(CLAIM, worker="dead", token=new_token(), lease_ms=60_000)
            other = await client.start("busy", "Go")
            tasks.start_soon(worker.run)
            async for event in other.stream_async():
                if "message" in event:
                    break
            assert await log.bury("dead", ended="was killed by SIGKILL") == [feared.id]
            assert str(await feared.result()) == "Done.\n"
            assert str(await other.result()) == "All done.\n"
            info = await other.info()
            assert held == [1]
            assert (info.handovers, info.crashes) == (1, 0)
            worker.drain()
    await log.aclose()


async def test_a_run_gets_on_when_the_tool_that_ran_at_the_crash_has_completed(redis_url: str, prefix: str) -> None:
    log = RedisLog(connect(redis_url), prefix=prefix)
    begun = anyio.Event()
    streaks: list[int] = []

    async def streak(run_id: str) -> None:
        stored: Any = await log.client.hget(log.keys.run(run_id), "crash_streak")
        streaks.append(int(stored))

    @tool
    async def work(context: ToolContext) -> str:
        """Work until the process dies; then look at the count."""
        if context.attempt == 1:
            begun.set()
            await anyio.sleep_forever()
        await streak(context.run_id)
        return "done"

    @tool
    async def look(context: ToolContext) -> str:
        """Look at the count."""
        await streak(context.run_id)
        return "done"

    calls = [tool_call("work", {}, "t1"), tool_call("look", {}, "t2"), "Done."]
    agent = Agent(name="works", model=ScriptedModel(calls), tools=[work, look], callback_handler=None)
    worker = Worker([agent], log=log, name="w", options=WorkerOptions(lease_ms=2000, grace_s=0))
    with anyio.fail_after(40):
        async with Client(redis_url, prefix=prefix) as client, anyio.create_task_group() as tasks:
            run = await client.start("works", "Go")
            tasks.start_soon(worker.run)
            await begun.wait()
            assert await log.bury("w", ended="was killed by SIGKILL") == [run.id]
            assert str(await run.result()) == "Done.\n"
            assert streaks == [1, 0]
            assert (await run.info()).crashes == 1
            worker.drain()
    await log.aclose()
