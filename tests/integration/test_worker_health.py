"""A worker tells how long ago it asked for work and was answered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.workers.health import read_health
from playhead.workers.leases.watchdog import now_s
from tests.support.quick_runs import quick

if TYPE_CHECKING:
    from playhead.workers import Worker
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SILENT_S = 3.0
"""More than an idle worker takes from one answer to the next, which is two seconds."""


async def silent(fleet: Fleet, worker: Worker) -> None:
    """Wait until the worker has not been answered for longer than usual."""

    async def holds() -> bool:
        return (worker.statistics().asked_ago_s or 0.0) > SILENT_S

    await fleet.until(holds)


async def answered(fleet: Fleet, worker: Worker, *, after: float = 0.0) -> None:
    """Wait until the worker was answered after a time by `now_s`."""

    async def holds() -> bool:
        ago = worker.statistics().asked_ago_s
        return ago is not None and ago < 1.0 and now_s() - ago > after

    await fleet.until(holds)


async def test_a_worker_whose_server_is_stopped_grows_silent_and_its_file_says_so(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "health"
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.worker(quick(), health_file=path) as worker:
            await answered(there, worker)

            async def written() -> bool:
                return path.exists()

            await there.until(written)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await silent(there, worker)

                async def old() -> bool:
                    return worker.statistics().asked_ago_s is not None and age(path) > SILENT_S

                await there.until(old)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await answered(there, worker)
            (health,) = read_health(path)
            assert (health.worker, health.state, health.running) == (worker.name, "serving", 0)
    assert not path.exists()


def age(path: Path) -> float:
    """As any program reads it."""
    return time.time_ns() / 1e9 - path.stat().st_mtime


async def test_a_worker_whose_slots_are_all_taken_is_answered_all_the_same(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    agent = Agent(model, name="agent", callback_handler=None)
    async with fleet.worker(agent, concurrency=1) as worker, fleet.client() as client:
        await client.start("agent", "Hi")
        await model.held.wait()
        await answered(fleet, worker, after=now_s() + 2.0)
        model.go.set()


async def test_a_worker_whose_claims_fail_grows_silent_though_the_server_answers(fleet: Fleet) -> None:
    async with fleet.worker(quick()) as worker, fleet.client() as client:
        await answered(fleet, worker)
        ready = client.log.keys.ready("quick")
        await fleet.ask("SET", ready, "another program's")
        await silent(fleet, worker)
        await fleet.ask("DEL", ready)
        await answered(fleet, worker)


async def test_a_tool_that_blocks_the_loop_is_not_told_as_a_server_that_is_away(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def block() -> str:
        """Block the event loop for longer than the server may take to reply."""
        time.sleep(2)  # noqa: ASYNC251 - code of a user that blocks
        return "done"

    agent = Agent(ScriptedModel([tool_call("block", {}), "Done."]), name="blocks", tools=[block], callback_handler=None)
    log = RedisLog(connect(f"{fleet.url}?socket_timeout=1"), prefix=fleet.prefix)
    async with fleet.worker(agent, log=log) as worker, fleet.client() as client:
        await answered(fleet, worker)
        began = now_s()
        assert str(await client.invoke_async("blocks", "Hi")) == "Done.\n"
        await answered(fleet, worker, after=began + 2.0)
    assert "has been blocked" in caplog.text
    assert [record.message for record in caplog.records if "cannot reach" in record.message] == []
