"""A run whose tool kills its process fails, and no other run that was in the process."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from playhead.runtime import RunFailedError
from tests.support.commands import Commands

__all__: list[str] = []

AGENTS = str(Path(__file__).with_name("crash_agents.py"))


async def runs_end(url: str, prefix: str) -> None:
    """Start nine innocent runs and a guilty one among them, and check how each ends."""
    with anyio.fail_after(100):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            names = [*["innocent"] * 4, "guilty", *["innocent"] * 5]
            runs = [await client.start(name, "Go") for name in names]
            innocent, guilty = [run for run, name in zip(runs, names, strict=True) if name == "innocent"], runs[4]
            with pytest.raises(
                RunFailedError, match=r"the tool 'poison' \(record \d+\) ran: its process was killed by SIGKILL"
            ) as end:
                await guilty.result()
            assert end.value.error_type == "CrashLimitExceeded"
            for run in innocent:
                assert str(await run.result()) == "All done.\n"
                assert (await run.info()).crashes <= 2
            assert (await guilty.info()).crashes == 4


def test_only_the_run_whose_tool_kills_its_process_fails(commands: Commands, redis_url: str, prefix: str) -> None:
    arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0", "--processes", "2")
    worker = commands.start("worker", AGENTS, *arguments)
    worker.until("serves")
    anyio.run(runs_end, redis_url, prefix)
    assert worker.stop() == 0


async def one_fails(url: str, prefix: str) -> None:
    with anyio.fail_after(60):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            run = await client.start("guilty", "Go")
            with pytest.raises(RunFailedError, match="its crash limit is 0"):
                await run.result()
            assert (await run.info()).crashes == 1


def test_the_command_sets_the_crash_limit(commands: Commands, redis_url: str, prefix: str) -> None:
    arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0", "--processes", "2")
    worker = commands.start("worker", AGENTS, *arguments, "--crash-limit", "0")
    worker.until("serves")
    anyio.run(one_fails, redis_url, prefix)
    assert worker.stop() == 0


def test_dev_sets_the_crash_limit(commands: Commands) -> None:
    dev = commands.start("dev", AGENTS, "--lease", "2", "--drain", "0", "--crash-limit", "0")
    url = dev.until(r"redis://127\.0\.0\.1:\d+").group()
    dev.until("serves")
    anyio.run(one_fails, url, "ph")
    assert dev.stop() == 0
