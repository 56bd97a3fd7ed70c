"""Drain: a worker told to end hands its runs over to another process, and nothing counts as a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.runtime.core.records import RunHandedOver, ToolFinished

if TYPE_CHECKING:
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

WORDS = [f"word{number} " for number in range(20)]
TEXT = "".join(WORDS)


@pytest.mark.parametrize("agent", ["steps", "together"])
async def test_a_drained_worker_finishes_its_tools_and_another_goes_on_from_there(
    programs: Programs, agent: str
) -> None:
    async with programs.client() as client:
        run = await client.start(agent, "Go")
        first = await programs.worker(hold="step 2", grace_s=20)
        async with programs.watching(run) as watcher:
            await first.hears("held")
            await first.tell("drain")
            await programs.worker()
            await first.tell("go")
            ended = (await first.hears("ended"))["statistics"]
        assert ended["ended"] == {"handed_over": 1}
        assert sorted(programs.effects()) == ["1", "2", "3"], "no tool ran twice"
        assert str(watcher.events[-1]["result"]) == "All done.\n"
        assert watcher.retracted == []
        await watcher.assert_saw_everything_once()
        records = [entry.record for entry in await programs.dense_entries(run)]
        assert sum(isinstance(record, RunHandedOver) for record in records) == 1
        assert sum(isinstance(record, ToolFinished) for record in records) == 3
        info = await run.info()
        assert (info.state, info.epoch, info.crashes) == ("completed", 2, 0)


async def test_a_message_that_outlasts_the_grace_is_withdrawn_and_streamed_by_another_worker(
    programs: Programs,
) -> None:
    async with programs.client() as client:
        run = await client.start("talker", "Go")
        first = await programs.worker(hold="word 9", grace_s=0.2)
        async with programs.watching(run) as watcher:
            await watcher.saw(data="word9 ")
            await first.tell("drain")
            assert (await first.hears("ended"))["statistics"]["ended"] == {"handed_over": 1}
            await programs.worker()
        assert watcher.retracted == ["".join(WORDS[:10])]
        assert watcher.text == TEXT
        await watcher.assert_saw_everything_once()
        assert (await run.info()).crashes == 0


async def test_a_whole_fleet_drained_one_by_one_loses_nothing(programs: Programs) -> None:
    """A rolling restart: each worker is replaced while it has work."""
    async with programs.client() as client:
        runs = [await client.start("steps", "Go") for _ in range(12)]
        for _ in range(3):
            worker = await programs.worker(concurrency=2)
            await worker.tell("drain")
            await worker.hears("ended")
        await programs.worker()
        for run in runs:
            assert str(await run.result()) == "All done.\n"
            assert (await run.info()).crashes == 0
            await programs.dense_entries(run)
        assert sorted(programs.effects()) == sorted("123" * 12), "no tool ran twice"


async def test_a_drain_cut_short_by_a_kill_is_a_crash_like_any_other(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("steps", "Go")
        first = await programs.worker(hold="step 2", grace_s=20)
        await first.hears("held")
        await first.tell("drain")
        await first.kill()
        await programs.expire_lease(run)
        await programs.worker()
        assert str(await run.result()) == "All done.\n"
        assert programs.effects() == ["1", "2", "2", "3"]
        assert (await run.info()).crashes == 1
