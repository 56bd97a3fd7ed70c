"""Leases: a busy worker keeps its runs, a stuck or sleeping one loses them, and says why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playhead.client import Run
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LEASE_MS = 2000


async def held_for(programs: Programs, run: Run, milliseconds: float) -> None:
    """Wait until the run's lease has been extended by that much."""
    key = f"{{{programs.prefix}:0}}:leases"
    first = float(await programs.ask("ZSCORE", key, run.id))

    async def extended() -> bool:
        score = await programs.ask("ZSCORE", key, run.id)
        assert score is not None, "it was taken from its owner"
        return float(score) >= first + milliseconds

    await programs.until(extended)


async def test_a_tool_that_blocks_the_event_loop_past_the_lease_costs_no_run(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("blocker", "Go")
        blocked = await programs.worker(hold="block")
        await blocked.hears("held")
        other = await programs.worker()
        await held_for(programs, run, 1.5 * LEASE_MS)
        await blocked.tell("go")
        assert str(await run.result()) == "All done.\n"
        await other.tell("drain")
        statistics = (await other.hears("ended"))["statistics"]
        assert (statistics["claimed"], statistics["reaped"]) == (0, 0)
        assert programs.effects() == ["blocked"]
        info = await run.info()
        assert (info.epoch, info.crashes) == (1, 0)


async def test_a_stuck_event_loop_is_not_kept_alive_and_its_worker_says_where_it_was_stuck(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("blocker", "Go")
        stuck = await programs.worker(hold="block", stall_s=0.7)
        await stuck.hears("held")
        await programs.worker()
        assert str(await run.result()) == "All done.\n"
        assert re.search(r"event loop has been blocked for \d\.\d s \(it is in \w+, \S+\.py, line \d+\)", stuck.logged)
        entries = await programs.dense_entries(run)
        await stuck.tell("go")
        await stuck.tell("drain")
        assert (await stuck.hears("ended"))["statistics"]["ended"] == {"fenced": 1}
        assert await programs.dense_entries(run) == entries
        assert programs.effects() == ["blocked", "blocked"]
        assert re.search(rf"run {run.id}: .*the event loop was blocked for \d", stuck.logged)
        assert "the run is completed (epoch 2)" in stuck.logged


async def test_a_worker_that_was_stopped_says_so_and_names_the_new_owner(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("talker", "Go")
        sleeper = await programs.worker(hold="word 9")
        await sleeper.hears("held")
        sleeper.pause()
        heir = await programs.worker(hold="word 4")
        await heir.hears("held")
        owner = (await run.info()).worker
        sleeper.resume()
        await sleeper.tell("drain")
        assert (await sleeper.hears("ended"))["statistics"]["ended"] == {"fenced": 1}
        assert re.search(rf"run {run.id}: .*this process was stopped for \d\.\d s", sleeper.logged)
        assert f"{owner} owns it now (epoch 2)" in sleeper.logged
        await heir.tell("go")
        await run.result()


@pytest.mark.parametrize(
    ("agent", "place", "before"),
    [
        ("in-turn", "tools stored 2", "1"),
        ("in-turn", "step 2", "12"),
        ("together", "tools stored 1", ""),
        ("together-on-loop", "tools stored 1", ""),
        ("together-on-loop", "step 1", "1"),
        ("steps", "tools stored 2", "1"),
    ],
)
async def test_a_worker_that_slept_past_its_lease_begins_no_further_tool_and_writes_nothing(
    programs: Programs, agent: str, place: str, before: str
) -> None:
    """It is stopped between the start in the log and the body, or in one body while others have not begun."""
    async with programs.client() as client:
        run = await client.start(agent, "Go")
        sleeper = await programs.worker(sleep=place)
        await sleeper.hears("asleep")
        assert programs.effects() == list(before)
        await programs.worker()
        assert str(await run.result()) == "All done.\n"
        entries, effects = await programs.dense_entries(run), programs.effects()
        unfinished = 1 if "step" in place else 0
        assert len(effects) == 3 + unfinished, "the next owner ran what had no result"
        sleeper.resume()
        await sleeper.tell("drain")
        assert (await sleeper.hears("ended"))["statistics"]["ended"] == {"fenced": 1}
        assert programs.effects() == effects, "no body began after the sleep"
        assert await programs.dense_entries(run) == entries
        assert "this process was stopped" in sleeper.logged
        assert "the run is completed (epoch 2)" in sleeper.logged


@pytest.mark.parametrize("place", ["claimed 1", "appended 6", "finishing 1"])
async def test_a_worker_that_slept_past_its_lease_at_any_place_writes_nothing_more(
    programs: Programs, place: str
) -> None:
    async with programs.client() as client:
        run = await client.start("steps", "Go")
        sleeper = await programs.worker(sleep=place)
        await sleeper.hears("asleep")
        await programs.worker()
        assert str(await run.result()) == "All done.\n"
        entries, effects = await programs.dense_entries(run), programs.effects()
        sleeper.resume()
        await sleeper.tell("drain")
        assert (await sleeper.hears("ended"))["statistics"]["ended"] == {"fenced": 1}
        assert (await programs.dense_entries(run), programs.effects()) == (entries, effects)
        assert f"run {run.id}: " in sleeper.logged
        assert "this process was stopped" in sleeper.logged
