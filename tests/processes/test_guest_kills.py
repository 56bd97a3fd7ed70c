"""`kill -9` of the worker of a guest: in a tool, and in the middle of an answer."""

from __future__ import annotations

from pathlib import Path

import anyio

from playhead.client import Client
from playhead.runtime.core.records import ModelRetried, RunClaimed, ToolFinished
from playhead.runtime.testing import folded_text
from tests.support.commands import Commands

__all__: list[str] = []

AGENTS = Path(__file__).with_name("guest_agents.py")


async def watched(url: str, prefix: str) -> None:
    """Start a run and watch it to its end, through two deaths of its workers."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            run = await client.start("clerk", "go")
            events = [event async for event in run.stream_async()]
            assert {"pay": "paid in attempt 2"} in events
            assert folded_text(events) == "One and two"
            assert events[-1]["result"].message["content"] == [{"text": "One and two"}]
            entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    kinds = [type(entry.record) for entry in entries]
    assert (kinds.count(RunClaimed), kinds.count(ToolFinished), kinds.count(ModelRetried)) == (3, 1, 1)


def test_a_killed_guest_goes_on_in_another_process_and_nothing_finished_is_done_again(
    commands: Commands, redis_url: str, prefix: str
) -> None:
    arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0", "--processes", "2")
    worker = commands.start("worker", str(AGENTS), *arguments)
    worker.until("serves")
    anyio.run(watched, redis_url, prefix)
    effects = (commands.folder / "effects.txt").read_text().splitlines()
    assert effects == ["look", "pay /t1", "pay /t1", "asked", "asked"]
    assert worker.stop() == 0
