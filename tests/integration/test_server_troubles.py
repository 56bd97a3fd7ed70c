"""A server that is there and does not do as asked: it has become a replica, runs a script, loads its data, hangs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from redis import exceptions as redis_errors

from playhead.runtime import Agent
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.quick_runs import assert_dense

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_replica(there: Fleet) -> AsyncGenerator[None]:
    await there.ask("REPLICAOF", "127.0.0.1", 1)
    yield
    await there.ask("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def busy_with_a_script(there: Fleet) -> AsyncGenerator[None]:
    await there.ask("CONFIG", "SET", "busy-reply-threshold", 10)

    async def run() -> None:
        with pytest.raises(redis_errors.ResponseError, match=r"(?i)script killed"):
            await there.ask("EVAL", "while true do end", 0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await there.until(lambda: refuses(there, redis_errors.ResponseError, "BUSY"))
        yield
        await there.ask("SCRIPT", "KILL")


@asynccontextmanager
async def loading_its_data(there: Fleet) -> AsyncGenerator[None]:
    await there.ask("EVAL", "for i = 1, 2000 do redis.call('SET', 'junk' .. i, 1, 'PX', 60000) end", 0)
    await there.ask("CONFIG", "SET", "key-load-delay", 1000, "loading-process-events-interval-bytes", 1024)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(there.ask, "DEBUG", "RELOAD")
        await there.until(lambda: refuses(there, redis_errors.BusyLoadingError, ""))
        yield
        await there.ask("CONFIG", "SET", "key-load-delay", 0)


async def refuses(there: Fleet, error: type[Exception], text: str) -> bool:
    try:
        await there.ask("GET", "anything")
    except error as refusal:
        return text in str(refusal)
    return False


Trouble = Callable[["Fleet"], AbstractAsyncContextManager[None]]


@pytest.mark.parametrize("trouble", [a_replica, busy_with_a_script, loading_its_data])
async def test_a_server_in_trouble_is_waited_out(
    fleet: Fleet, held_model: Callable[..., HeldModel], trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    model = held_model()
    async with EmbeddedServer.running(durable=False, extra_args=("--enable-debug-command", "local")) as server:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name="agent")) as worker, there.client() as client:
            run = await client.start("agent", "Hi")
            await model.held.wait()
            async with trouble(there):
                model.go.set()
                while not re.search(r"(append|finish): .*; trying again", caplog.text):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            assert str(await run.result()) == f"{model.text}\n"
            await fleet.ended(worker, completed=1)
            assert (await run.info()).epoch == 1
            await assert_dense(run)


async def test_a_server_that_hangs_for_longer_than_the_lease_costs_the_run_nothing_but_its_owner(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with (
            there.worker(Agent(model, name="agent"), lease_ms=2000) as worker,
            there.client() as client,
            anyio.create_task_group() as tasks,
        ):
            run = await client.start("agent", "Hi")
            viewer = there.viewer(run)
            tasks.start_soon(viewer.watch)
            await model.held.wait()
            os.kill(server.pid, signal.SIGSTOP)
            try:
                model.go.set()
                while worker.statistics().running:  # noqa: ASYNC110 - it gives the run up, because it cannot hold it
                    await anyio.sleep(0.01)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert str(await run.result()) == f"{model.text}\n"
            head = (await run.info()).head
            await viewer.seen(head)
            viewer.assert_dense(head)
            await fleet.ended(worker, fenced=1, completed=1)
