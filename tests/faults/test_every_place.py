"""Death at every checkpoint of a worker: wherever it was, the next one makes the run whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from playhead.runtime.core.records import RunPaused, ToolFinished
from playhead.runtime.core.signals import Signal

if TYPE_CHECKING:
    from playhead.client import Client, Run
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

PLACES = ["claimed 1", "tools stored 1", "tools stored 3", "appended 1", "appended 4", "finishing 1", "finished 1"]


async def assert_whole(programs: Programs, run: Run, *, calls: int) -> None:
    """It completed, each call has one result, and no reader sees an event twice."""
    watcher = programs.watcher(run)
    await watcher.watch()
    assert str(watcher.events[-1]["result"]) == "All done.\n"
    await watcher.assert_saw_everything_once()
    records = [entry.record for entry in await programs.dense_entries(run)]
    assert sum(isinstance(record, ToolFinished) for record in records) == calls
    assert (await run.info()).state == "completed"


@pytest.mark.parametrize("place", PLACES)
async def test_a_worker_that_dies_at_any_place_leaves_a_run_that_another_makes_whole(
    programs: Programs, place: str
) -> None:
    async with programs.client() as client:
        run = await client.start("steps", "Go")
        victim = await programs.worker(die=place)
        await victim.rest()
        await programs.expire_lease(run)
        await programs.worker()
        await assert_whole(programs, run, calls=3)
        ran = Counter(programs.effects())
        assert set(ran) == {"1", "2", "3"}
        assert ran.total() <= 4, "one call at most may have been cut off"
        assert (await run.info()).crashes == (0 if place.startswith("finished") else 1)


@pytest.mark.parametrize("place", ["releasing 1", "released 1"])
async def test_a_worker_that_dies_as_it_hands_over_leaves_a_run_that_another_makes_whole(
    programs: Programs, place: str
) -> None:
    async with programs.client() as client:
        run = await client.start("steps", "Go")
        victim = await programs.worker(hold="step 2", die=place, grace_s=20)
        await victim.hears("held")
        await victim.tell("drain")
        await victim.tell("go")
        await victim.rest()
        await programs.expire_lease(run)
        await programs.worker()
        await assert_whole(programs, run, calls=3)
        assert sorted(programs.effects()) == ["1", "2", "3"], "its result was sent at once, not with the hand-over"
        assert (await run.info()).crashes == (0 if place.startswith("released") else 1)


async def paused(client: Client, run: Run) -> str | None:
    """The id of what the paused run asks; None while it is not paused."""
    if (await run.info()).state != "paused":
        return None
    records = [entry.record for entry in await client.log.read(run.id)]
    return [record for record in records if isinstance(record, RunPaused)][-1].interrupts[0]["id"]


@pytest.mark.parametrize("place", ["pausing 1", "paused 1"])
async def test_a_worker_that_dies_as_it_pauses_a_run_asks_once_and_the_response_counts(
    programs: Programs, place: str
) -> None:
    async with programs.client() as client:
        run = await client.start("asks", "Go")
        victim = await programs.worker(die=place)
        await victim.rest()
        await programs.expire_lease(run)
        await programs.worker()

        async def asks() -> bool:
            return await paused(client, run) is not None

        await programs.until(asks)
        await client.log.signal(run.id, Signal("one", "respond", {await paused(client, run): "yes"}))
        await assert_whole(programs, run, calls=1)
        assert programs.effects() == ["yes"]
        records = [entry.record for entry in await programs.dense_entries(run)]
        assert sum(isinstance(record, RunPaused) for record in records) == 1
