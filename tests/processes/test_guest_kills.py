"""`kill -9` of the worker of a guest: in a tool, in that of an agent within an agent, and in the middle of an answer."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import ModelRetried, RunClaimed, ToolFinished
from playhead.runtime.testing import folded_text
from tests.support.commands import Commands

__all__: list[str] = []

HERE = Path(__file__).parent


async def watched(url: str, prefix: str, agent: str, text: str) -> list[Event]:
    """Start a run and watch it to its end, through two deaths of its workers."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            run = await client.start(agent, "go")
            events = [event async for event in run.stream_async()]
            assert folded_text(events) == text
            assert events[-1]["result"].message["content"] == [{"text": text}]
            entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    kinds = [type(entry.record) for entry in entries]
    assert (kinds.count(RunClaimed), kinds.count(ModelRetried)) == (3, 1)
    results = [entry.record.result["toolUseId"] for entry in entries if isinstance(entry.record, ToolFinished)]
    assert len(results) == len(set(results))
    return events


@pytest.mark.parametrize(
    ("file", "agent", "text", "tools"),
    [
        ("guest_agents.py", "clerk", "One and two", ["look", "pay /t1", "pay /t1"]),
        ("strands_agents_killed.py", "make_agent", "All done!", ["look", "pay /c/p", "pay /c/p"]),
    ],
)
def test_a_killed_guest_goes_on_in_another_process_and_nothing_finished_is_done_again(
    commands: Commands, redis_url: str, prefix: str, file: str, agent: str, text: str, tools: list[str]
) -> None:
    arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0", "--processes", "2")
    worker = commands.start("worker", str(HERE / file), *arguments)
    worker.until("serves")
    events = anyio.run(watched, redis_url, prefix, agent, text)
    assert "paid in attempt 2" in str(events)
    effects = (commands.folder / "effects.txt").read_text().splitlines()
    assert effects == [*tools, "asked", "asked"]
    assert worker.stop() == 0
