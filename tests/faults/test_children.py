"""Death while an agent that is a tool runs: the next owner goes on with the same child, and the streams stay whole."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime.core.records import ChildStarted, Entry, ModelRetried, ToolFinished, ToolStarted

if TYPE_CHECKING:
    from playhead.client import Client, Run
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

STRIDES = {"parent": 7, "child": 9}
"""Neighbours die in the same state: batches hold several records."""


async def dies(programs: Programs, run: Run, *, of: str, at: int) -> bool:
    """Whether a worker that dies when this record of the parent or of the child is stored did so, and not the run end before."""
    worker = await programs.worker(die_at=at, die_of=of)

    async def over() -> bool:
        return not worker.alive or (await run.info()).ended

    await programs.until(over)
    if not worker.alive:
        return True
    await worker.kill()
    return False


async def nested(run: Run) -> list[Any]:
    """The events of the child, as the parent's stream has them."""
    events = [event async for event in run.stream_async()]
    return [event["tool_stream_event"]["data"] for event in events if "tool_stream_event" in event]


def assert_nothing_was_made_again(entries: list[Entry]) -> None:
    """Each call has one result; one that broke off was begun twice, and at most one model call was."""
    records = [entry.record for entry in entries]
    results = Counter(record.result["toolUseId"] for record in records if isinstance(record, ToolFinished))
    starts = Counter(record.tool_use["toolUseId"] for record in records if isinstance(record, ToolStarted))
    assert set(results.values()) == {1}
    assert max(starts.values()) <= 2
    assert sum(isinstance(record, ModelRetried) for record in records) <= 1


async def assert_whole(programs: Programs, client: Client, run: Run, *, ran: Counter[str]) -> None:
    entries = await programs.dense_entries(run)
    (child,) = {entry.record.run for entry in entries if isinstance(entry.record, ChildStarted)}
    assert_nothing_was_made_again(entries)
    assert_nothing_was_made_again(await programs.dense_entries(client.run(child)))
    assert set(ran) == {"1", "2", "3"}
    assert sum(ran.values()) <= 4, "only the call that ran when the worker died runs again"
    own = [dict(event) async for event in client.run(child).stream_async() if "result" not in event]
    assert await nested(run) == own
    assert str(await run.result()) == "All done.\n"


@pytest.mark.parametrize("of", STRIDES)
async def test_a_worker_that_dies_at_any_record_of_parent_or_child_leaves_a_family_that_another_makes_whole(
    programs: Programs, of: str
) -> None:
    at = 3
    async with programs.client(limit_s=60) as client:
        while True:
            before = Counter(programs.effects())
            run = await client.start("family", "Go")
            if not await dies(programs, run, of=of, at=at):
                break
            await programs.expire_leases()
            heir = await programs.worker(concurrency=1)
            await run.result()
            await heir.kill()
            await assert_whole(programs, client, run, ran=Counter(programs.effects()) - before)
            at += STRIDES[of]
        assert at > 20


async def test_a_child_that_kills_its_worker_again_and_again_fails_and_its_parent_goes_on_with_that(
    programs: Programs,
) -> None:
    async with programs.client(limit_s=60) as client:
        run = await client.start("deadly", "Go")
        for _ in range(3):
            await (await programs.worker(crash_limit=2)).rest()
            await programs.expire_leases()
        worker = await programs.worker(crash_limit=2)
        assert str(await run.result()) == "All done.\n"
        assert worker.alive
        assert programs.effects() == ["killed"] * 3
        (child,) = await client.runs(tag=f"parent={run.id}")
        assert child.state == "failed"
        (told,) = [
            entry.record for entry in await programs.dense_entries(run) if isinstance(entry.record, ToolFinished)
        ]
        assert told.result["status"] == "error"
        assert re.search(r"3 workers in a row died.*the tool 'kill' \(record \d+\) ran", str(told.result["content"]))
