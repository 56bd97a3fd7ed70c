"""`kill -9` of the worker of a guest: in tools, in one of an agent within an agent, in a node of a graph, in the middle of an answer,
and while it is paused."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from playhead.client import Client, Run
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import ModelRetried, Record, RunClaimed, StepFinished, ToolFinished
from playhead.runtime.host.tool_calls import OUTCOME_UNKNOWN
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
        ("guest_agents.py", "clerk", "One and two!", ["look", "pay t1", "pay t1"]),
        ("strands_agents_killed.py", "make_agent", "All done!", ["look", "pay p", "pay p"]),
        ("pydantic_agents_killed.py", "make_agent", "All done!", ["look", "pay t1", "pay t1"]),
        ("langgraph_agents_killed.py", "make_agent", "All done!", ["look", "pay t1", "pay t1"]),
        ("openai_agents_killed.py", "make_agent", "All done!", ["look", "pay p", "pay p"]),
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


DYING = ("payer", "asker", "both")


async def stored(run: Run, kind: type[Record], times: int) -> None:
    """Wait until so many records of a type are stored."""
    async for entry in run.records():
        times -= isinstance(entry.record, kind)
        if not times:
            return


async def begun(url: str, prefix: str, effects: Path) -> dict[str, str]:
    """Start the runs, and wait until all that is to be cut off has begun; their ids."""
    wanted = {"look payer", "look left", "pay right", "pay pay_again", "pay pay_once", "pay pay_asking"}
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix) as client:
            runs = {name: await client.start(name, "go") for name in DYING}
            await runs["asker"].result(on_pause="end")
            while not (effects.exists() and wanted <= {*effects.read_text().splitlines()}):  # noqa: ASYNC110
                await anyio.sleep(0.02)
            await stored(runs["payer"], ToolFinished, 1)
            await stored(
                runs["both"], StepFinished, 4
            )  # the version of Strands, two calls of one node, one of the other
    return {name: run.id for name, run in runs.items()}


async def goes_on(url: str, prefix: str, ids: dict[str, str]) -> None:
    """Wait until the second worker has brought the runs as far as they get."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            asked = (await client.run(ids["payer"]).result(on_pause="end")).interrupts
            assert [question.name for question in asked or ()] == ["unknown_outcome"]
            await client.run(ids["both"]).result()


async def answered(url: str, prefix: str, ids: dict[str, str]) -> dict[str, list[str]]:
    """Respond to what the paused runs ask; the results of each run's tools, in order."""
    told: dict[str, list[str]] = {}
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            for name, run_id in ids.items():
                run = client.run(run_id)
                interrupts = (await run.result(on_pause="end")).interrupts
                for question in interrupts or ():
                    await run.respond({question.id: {"result": "paid by hand"} if name == "payer" else "yes"})
                await run.result()
                entries = [entry async for entry in run.records()]
                assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
                results = [entry.record.result for entry in entries if isinstance(entry.record, ToolFinished)]
                assert len(results) == len({one["toolUseId"] for one in results})
                told[name] = [one["content"][0]["text"] for one in sorted(results, key=lambda one: one["toolUseId"])]
    return told


def test_killed_in_tools_side_by_side_in_a_node_and_while_paused_it_does_nothing_finished_again(
    commands: Commands, redis_url: str, prefix: str
) -> None:
    arguments = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0")
    effects = commands.folder / "effects.txt"

    def kill_after(wait: Any, *given: Any) -> Any:
        worker = commands.start("worker", str(HERE / "strands_agents_dying.py"), *arguments)
        worker.until("serves")
        found = anyio.run(wait, redis_url, prefix, *given)
        worker.signal(signal.SIGKILL)
        return found

    ids = kill_after(begun, effects)
    kill_after(goes_on, ids)
    assert kill_after(answered, ids) == {
        "payer": ["seen payer", "paid pay_again", "paid by hand", OUTCOME_UNKNOWN],
        "asker": ["this: yes"],
        "both": ["seen left", "paid right"],
    }
    done = Counter(effects.read_text().splitlines())
    assert {what: times for what, times in done.items() if times > 1} == {"pay pay_again": 2, "pay right": 2}
