"""Death at every record: whichever write a worker dies before or after, the next one makes the run whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import ModelChunk, ModelRetried, ToolFinished, ToolStarted

if TYPE_CHECKING:
    from playhead.client import Run
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

STRIDES = {"steps": 3, "together": 4, "talker": 8}
"""Batches hold several records, so neighbours die in the same state; more would cost time and find nothing."""

TEXTS = {"steps": "All done.", "together": "All done.", "talker": "".join(f"word{number} " for number in range(20))}


async def dies(programs: Programs, run: Run, *, at: int, when: str) -> bool:
    """Whether a worker that dies at this record of the run did so, and not the run end before."""
    worker = await programs.worker(die_at=at, die_when=when)

    async def over() -> bool:
        return not worker.alive or (await run.info()).ended

    await programs.until(over)
    info = await run.info()
    if info.ended and info.head < at:
        await worker.kill()
        return False
    await worker.rest()
    return True


async def assert_whole(programs: Programs, run: Run, *, text: str, ran: Counter[str]) -> None:
    """The run completed, no reader saw an event twice, and no call that has a result was made again."""
    watcher = programs.watcher(run)
    await watcher.watch()
    assert watcher.text == text
    assert (await run.info()).state == "completed"
    records = [entry.record for entry in await programs.dense_entries(run)]
    results = Counter(record.result["toolUseId"] for record in records if isinstance(record, ToolFinished))
    starts = Counter(record.tool_use["toolUseId"] for record in records if isinstance(record, ToolStarted))
    assert results == (Counter() if "word" in text else {"t1": 1, "t2": 1, "t3": 1})
    for call, times in starts.items():
        assert 1 <= ran[call[1:]] <= times <= 2
    assert sum(isinstance(record, ModelRetried) for record in records) <= 1
    for first, last in [record.supersedes for record in records if isinstance(record, ModelRetried)]:
        sent = [record.chunk for record in records[first - 1 : last] if isinstance(record, ModelChunk)]
        assert whole_answer(sent) is None, "a whole answer is never withdrawn"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("agent", TEXTS)
async def test_a_worker_that_dies_at_any_record_leaves_a_run_that_another_makes_whole(
    programs: Programs, agent: str, when: str
) -> None:
    at = 3 if when == "after" else 4
    async with programs.client(limit_s=40) as client:
        while True:
            before = Counter(programs.effects())
            run = await client.start(agent, "Go")
            if not await dies(programs, run, at=at, when=when):
                break
            await programs.expire_lease(run)
            heir = await programs.worker()
            await run.result()
            await heir.kill()
            await assert_whole(programs, run, text=TEXTS[agent], ran=Counter(programs.effects()) - before)
            at += STRIDES[agent]
        assert at > 15
