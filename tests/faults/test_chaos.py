"""Chaos: workers are killed, paused, drained and started at random while runs go on; nothing is lost or done twice."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime.records import ModelChunk, ModelRetried, ToolFinished, ToolStarted

if TYPE_CHECKING:
    from playhead.client import Run
    from playhead.runtime.records import Entry

    from .conftest import Program, Programs, Watcher

__all__: list[str] = []

pytestmark = pytest.mark.anyio

TEXT = "".join(f"word{number} " for number in range(20))
RUNS = 24
WORKERS = 3
FAULTS = 8
OPTIONS: dict[str, Any] = {"concurrency": 8, "crash_limit": 1000, "grace_s": 1.0}


async def hurt(programs: Programs, workers: list[Program], dice: random.Random) -> None:
    """One fault; killed and drained workers are replaced."""
    victim = dice.choice(workers)
    fault = dice.choice(["kill", "kill", "pause", "drain", "cut", "forget"])
    if fault == "cut":
        for kind in ("normal", "pubsub"):
            await programs.ask("CLIENT", "KILL", "TYPE", kind)
    elif fault == "forget":
        await programs.ask("SCRIPT", "FLUSH")
    elif fault == "pause":
        victim.pause()
        with anyio.move_on_after(dice.choice([0.3, 2.3])):  # below and above the lease
            await anyio.sleep_forever()
        victim.resume()
    else:
        workers.remove(victim)
        if fault == "kill":
            await victim.kill()
        else:
            await victim.tell("drain")
            await victim.hears("ended")
        workers.append(await programs.worker(**OPTIONS))


def assert_nothing_done_twice(entries: list[Entry]) -> None:
    """No call is started behind its own result, and each has one result."""
    results: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry.record, ToolStarted):
            assert results[entry.record.tool_use["toolUseId"]] == 0, entry
        elif isinstance(entry.record, ToolFinished):
            results[entry.record.result["toolUseId"]] += 1
    assert results == {"t1": 1, "t2": 1, "t3": 1}


def assert_one_owner_at_a_time(entries: list[Entry]) -> None:
    """Each ownership's records are one stretch that begins with its claim."""
    for before, entry in pairwise(entries):
        assert (entry.epoch == before.epoch) or (entry.record.type == "run.claimed"), entry


def standing_text(entries: list[Entry]) -> str:
    """The text of the chunks that were not withdrawn."""
    withdrawn = [entry.record.supersedes for entry in entries if isinstance(entry.record, ModelRetried)]
    return "".join(
        entry.record.chunk["contentBlockDelta"]["delta"].get("text", "")
        for entry in entries
        if isinstance(entry.record, ModelChunk)
        and "contentBlockDelta" in entry.record.chunk
        and not any(first <= entry.seq <= last for first, last in withdrawn)
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2])
async def test_runs_stay_whole_through_whatever_happens_to_their_workers(programs: Programs, seed: int) -> None:
    dice = random.Random(seed)
    async with programs.client(limit_s=60) as client:
        workers = [await programs.worker(**OPTIONS) for _ in range(WORKERS)]
        runs: list[Run] = []
        watchers: list[Watcher] = []
        async with anyio.create_task_group() as tasks:
            for number in range(RUNS):
                session = f"session {number % 4}" if number % 3 == 0 else None
                runs.append(await client.start("traced", f"run {number}", session_id=session))
                watchers.append(programs.watcher(runs[-1]))
                tasks.start_soon(watchers[-1].watch)
            for _ in range(FAULTS):
                await hurt(programs, workers, dice)
        effects = Counter(programs.effects())
        for run, watcher in zip(runs, watchers, strict=True):
            assert watcher.error is None
            assert watcher.text == TEXT * 4
            await watcher.assert_saw_everything_once()
            entries = await programs.dense_entries(run)
            assert_nothing_done_twice(entries)
            assert_one_owner_at_a_time(entries)
            assert standing_text(entries) == TEXT * 4
            starts = Counter(
                f"{run.id} {e.record.tool_use['input']['number']}" for e in entries if isinstance(e.record, ToolStarted)
            )
            for call, times in starts.items():
                assert 1 <= effects[call] <= times, "each body ran as often as its start stands in the log, at most"
        for session in range(4):
            prompts = [m for m in await client.log.messages(f"session {session}") if m.get("role") == "user"]
            told = [m.get("content", [])[0]["text"] for m in prompts if "text" in m.get("content", [{}])[0]]
            assert told == [f"run {number}" for number in range(RUNS) if number % 3 == 0 and number % 4 == session]
