"""The third way with processes: a real worker dies by `kill -9` after a record, and another goes on on the same server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest

from playhead.client import Client, Run
from playhead.runtime.core.records import Entry, ModelRetried, ModelStarted
from testkit.processes import ForkServer, Process, fork_server
from tests.conformance.conformance_agents import request_as_noted
from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_reader import Reader
from tests.conformance.conformance_recording import Recording, event_line, terms_of_turn
from tests.conformance.conformance_scenarios import HERE, Folder, Scenario, encode
from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

DATA = Folder(HERE / "data", ours=True)
STRIDES = {"one_tool": 8, "tool_stream": 7, "parallel_tools": 7}
"""How many records further the next worker dies: `test_killed_after_every_record.py` tries each."""


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    """Where workers are started."""
    with fork_server(worker="tests.conformance.conformance_worker:run") as server:
        yield server


@pytest.mark.parametrize("name", STRIDES)
async def test_a_worker_process_that_is_killed_changes_nothing_for_the_reader(
    forks: ForkServer, fleet: Fleet, name: str, tmp_path: Path
):
    [scenario] = [one for one in DATA.scenarios() if one["id"] == name]

    async def worker(die_at: int | None = None) -> Process:
        config = {"url": fleet.url, "prefix": fleet.prefix, "scenario": scenario, "die_at": die_at, "die_when": "after"}
        process = await forks.start("worker", log=tmp_path / "log", **config)
        assert (await process.next_line())["said"] == "ready"
        return process

    at = 3
    async with fleet.client() as client:
        while True:
            mortal = await worker(at)
            run = await start(client, scenario)
            await fleet.until(lambda mortal=mortal, run=run: is_over(mortal, run))
            await mortal.aclose()
            if (await run.info()).ended:
                break
            await expire_lease(fleet, run)
            heir = await worker()
            entries = [entry async for entry in run.records()]
            await heir.aclose()
            scratch = tmp_path / str(at)
            problems = differences(DATA, scenario, await told(client, run, scenario, entries), scratch=scratch)
            assert not problems, "\n".join([f"killed after record {at}", *problems])
            at += STRIDES[name]
    assert at > 3 + STRIDES[name], "more than one worker was killed"


async def is_over(worker: Process, run: Run) -> bool:
    """Whether the worker has died, or has ended the run before."""
    with suppress(ProcessLookupError):
        os.kill(worker.pid, 0)
        return (await run.info()).ended
    return True


async def start(client: Client, scenario: Scenario) -> Run:
    """Begin the scenario's only turn, in a session of its own."""
    [turn] = scenario["turns"]
    session = await client.new_run_id()
    return await client.start(scenario["id"], turn["prompt"], session_id=session, **terms_of_turn(turn))


async def expire_lease(fleet: Fleet, run: Run) -> None:
    """As if the lease of the dead worker had run out now."""
    await fleet.ask("ZADD", f"{{{fleet.prefix}:0}}:leases", "XX", 1, run.id)


async def told(client: Client, run: Run, scenario: Scenario, entries: list[Entry]) -> Recording:
    """What a reader of the run holds at its end."""
    [turn] = scenario["turns"]
    reader = Reader(run.id, run.output_class)
    before = list(takewhile(lambda entry: entry.epoch < 2, entries))
    for entry in entries:
        if entry.epoch == 2 and reader.head == len(before):
            reader.killed(before)
        reader.read(entry, 0)
    recording = Recording()
    for one in reader.seen:
        recording.note(0, **event_line(one.event, turn))
    recording.note(0, end="ok")
    withdrawn = {one.record.supersedes[0] for one in entries if isinstance(one.record, ModelRetried)}
    asked = [one.seq for one in entries if isinstance(one.record, ModelStarted) and one.seq not in withdrawn]
    for call, seq in enumerate(asked):
        recording.requests.append(request_as_noted((await run.request(seq)).request, call=call))
    session = (await run.info()).session
    assert session is not None
    recording.histories.append(encode(await client.log.messages(session)))
    return recording
