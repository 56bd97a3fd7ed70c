"""A server that stalls for longer than a lease takes runs from their owners, and is not a crash of any of them."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
import redis.asyncio

from playhead.client import Client, Run
from playhead.runtime import Agent
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import RunInfo
from playhead.runtime.models import ScriptedModel
from playhead.workers import Worker, WorkerOptions

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LEASE_MS = 2000
STALLS = 4


async def until(run: Run, holds: Callable[[RunInfo], bool]) -> RunInfo:
    """Wait until the run's state is such; a server that stalls answers after its stall."""
    while not holds(info := await run.info()):  # noqa: ASYNC110 - the log gives no signal of it
        await anyio.sleep(0.05)
    return info


@pytest.mark.timeout(120)
async def test_a_run_survives_more_stalls_of_the_server_than_it_may_crash() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    agent = Agent(name="slow", model=ScriptedModel([text], delay=0.15, repeat=True), callback_handler=None)
    options = WorkerOptions(lease_ms=LEASE_MS, grace_s=0)
    with anyio.fail_after(100):
        async with EmbeddedServer.running(durable=False) as server, Client(server.url) as client:
            connection, admin = connect(server.url), redis.asyncio.Redis.from_url(server.url)
            worker = Worker([agent], log=RedisLog(connection), options=options)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run)
                run = await client.start("slow", "Go")
                for stall in range(1, STALLS + 1):
                    info = await until(run, lambda info, stall=stall: info.state == "running" and info.epoch >= stall)
                    await admin.execute_command("CLIENT", "PAUSE", LEASE_MS + 1000, "ALL")
                    await until(run, lambda info, former=info.epoch: info.epoch > former)
                assert str(await run.result()) == f"{text}\n"
                assert (await until(run, lambda info: info.crashes == 0)).epoch > STALLS
                worker.drain()
            await admin.aclose()
            await connection.aclose()
