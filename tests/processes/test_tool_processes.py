"""What tools start works in a worker process, disturbs nothing in it, and does not delay its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from tests.support.commands import Commands, Running, gone

__all__: list[str] = []

AGENTS = Path(__file__).with_name("child_agents.py")


@pytest.fixture
def start(commands: Commands, redis_url: str, prefix: str) -> Callable[..., Running]:
    """Starts a worker command for the agents, and waits until it serves them."""

    def started(*options: str) -> Running:
        arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0", *options)
        worker = commands.installed("worker", str(AGENTS), *arguments)  # `spawn` and `forkserver` start it once more
        worker.until("serves")
        return worker

    return started


async def tool_result(url: str, prefix: str, agent: str) -> str:
    """The text of the tool's result in a run of the agent."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix) as client:
            async for event in client.stream_async(agent, "go"):
                for block in event.get("message", {}).get("content", []):
                    if "toolResult" in block:
                        return str(block["toolResult"]["content"][0]["text"])
    raise AssertionError("no result of a tool")


async def begun(url: str, prefix: str, agent: str) -> None:
    """Start a run, and wait until its tool has started."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix) as client:
            run = await client.start(agent, "go")
            async for entry in run.records():
                if entry.record.type == "tool.started":
                    return


RESULTS = {
    "fork": "49",
    "spawn": "49",
    "forkserver": "49",
    "reads": "code 0, read ''",
    "program": "code 0",
    "terminate": "exit code -15",
}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_a_tool_starts_works_and_the_worker_goes_on(
    start: Callable[..., Running], redis_url: str, prefix: str, processes: str
) -> None:
    worker = start("--processes", processes)
    for agent, result in RESULTS.items():
        assert anyio.run(tool_result, redis_url, prefix, agent) == result
    assert not [line for line in worker.err if "drain" in line or "ended" in line]
    assert worker.stop() == 0


def test_what_a_tool_has_left_running_does_not_delay_the_end(
    start: Callable[..., Running], redis_url: str, prefix: str
) -> None:
    worker = start()
    child = int(anyio.run(tool_result, redis_url, prefix, "leaves"))
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 10
    worker.until("does not wait for what its tools left running .*left alone")
    assert gone(child)


@pytest.mark.parametrize(
    ("agent", "code", "why"),
    [
        ("thread", 0, "does not wait for what its tools left running .*(uvloop|asyncio)_0"),
        ("stubborn", 1, "did not stop in time, and is ended: a task of a tool does not end"),
        ("blocks", 1, "did not stop in time, and is ended: its event loop is blocked in blocks, .*child_agents.py"),
    ],
)
def test_a_drain_ends_in_bounded_time_and_says_why_whatever_a_tool_does(
    start: Callable[..., Running], redis_url: str, prefix: str, agent: str, code: int, why: str
) -> None:
    worker = start()
    anyio.run(begun, redis_url, prefix, agent)
    began = time.monotonic()
    assert worker.stop() == code
    assert time.monotonic() - began < 15  # a lease of 2 s, five to disconnect, two to leave
    worker.until(why)


def test_a_child_that_a_signal_drains_is_replaced(start: Callable[..., Running]) -> None:
    worker = start("--processes", "2")
    first = worker.until(r"worker \S+-(\d+)-\w+ serves")
    os.kill(int(first[1]), signal.SIGTERM)
    worker.until("ended with exit code 0; another starts")
    worker.until("serves")
    assert worker.stop() == 0
