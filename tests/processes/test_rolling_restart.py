"""A deploy: every worker process of a fleet is replaced while it has work, and nothing is lost or done twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import anyio
import pytest

from playhead.client import Client, Run
from playhead.runtime.core.records import ToolFinished, ToolStarted
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Running

__all__: list[str] = []

AGENTS = str(Path(__file__).with_name("process_agents.py"))
STEPS = 3
ROUNDS = 3


def start_worker(commands: Commands, url: str) -> Running:
    """A worker process that serves; its tools leave their traces in `effects`."""
    options = ("--url", url, "--lease", "2", "--drain", "20", "--concurrency", "4")  # so none takes all runs of a round
    worker = commands.start("worker", AGENTS, *options, env={"PLAYHEAD_TEST_EFFECTS": "effects"})
    worker.until("serves")
    return worker


async def assert_done_once(run: Run) -> None:
    """It completed with every step's result, and no call was started a second time."""
    assert str(await run.result()).startswith("All done")
    entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    records = [entry.record for entry in entries]
    assert sum(isinstance(record, ToolStarted) for record in records) == STEPS
    assert sum(isinstance(record, ToolFinished) for record in records) == STEPS
    info = await run.info()
    assert (info.state, info.crashes) == ("completed", 0)


async def at_work(worker: Running, runs: list[Run]) -> None:
    """Wait until it holds one of the runs."""
    with anyio.fail_after(20):
        while not any([f"-{worker.pid}-" in ((await run.info()).worker or "") for run in runs]):  # noqa: ASYNC110 - it gives no signal
            await anyio.sleep(0.01)


async def deploy(commands: Commands, url: str) -> list[Run]:
    """Replace one worker after the other while runs come; returns the runs, which have ended well."""
    workers = [await anyio.to_thread.run_sync(start_worker, commands, url) for _ in range(2)]
    runs: list[Run] = []
    async with Client(url) as client:
        for _ in range(ROUNDS):
            runs += [await client.start("steps", "Go") for _ in range(8)]
            old = workers.pop(0)

            await at_work(old, runs)
            old.signal(signal.SIGTERM)
            workers.append(await anyio.to_thread.run_sync(start_worker, commands, url))
            assert (await anyio.to_thread.run_sync(old.wait)).code == 0
        for run in runs:
            await assert_done_once(run)
    return runs


@pytest.mark.timeout(120)
def test_a_rolling_restart_under_load_loses_nothing_and_runs_no_tool_twice(server: EmbeddedServer, commands: Commands):
    async def deploy_in_time() -> list[Run]:
        with anyio.fail_after(90):
            return await deploy(commands, server.url)

    runs = anyio.run(deploy_in_time)
    effects = Counter((commands.folder / "effects").read_text().splitlines())
    assert effects == {f"{run.id} {number}": 1 for run in runs for number in range(1, STEPS + 1)}
