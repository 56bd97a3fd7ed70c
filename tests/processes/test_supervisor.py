"""Several worker processes from one: a child that dies is replaced, and the supervisor can tell of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from playhead.workers.supervisor import Supervisor, SupervisorStatistics

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENTS = str(Path(__file__).with_name("process_agents.py"))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a child process does."""
    while not holds():  # noqa: ASYNC110 - processes give no signal
        await anyio.sleep(0.01)


async def test_a_child_that_is_killed_is_replaced_its_run_goes_on_and_the_supervisor_tells(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYHEAD_URL", redis_url)
    supervisor = Supervisor([AGENTS, "--prefix", prefix, "--lease", "2", "--quiet"], processes=2)
    ended: list[int | None] = []

    async def supervise() -> None:
        ended.append(await supervisor.run())

    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks, Client(redis_url, prefix=prefix) as client:
            tasks.start_soon(supervise)
            run = await client.start("slow", "Go")
            async for event in run.stream_async():
                if "data" in event:
                    break
            before = supervisor.statistics()
            assert (len(before.pids), before.restarts, before.last_exit) == (2, 0, None)
            owner = (await run.info()).worker or ""
            (victim,) = [pid for pid in before.pids if f"-{pid}-" in owner]
            os.kill(victim, signal.SIGKILL)
            await until(lambda: supervisor.statistics().restarts == 1)
            await until(lambda: len(supervisor.statistics().pids) == 2)
            assert victim not in supervisor.statistics().pids
            assert (await run.result()).stop_reason == "end_turn"
            assert (await run.info()).crashes == 1
            supervisor.drain()
    assert ended == [None]
    assert supervisor.statistics() == SupervisorStatistics((), restarts=1, last_exit=-signal.SIGKILL)
