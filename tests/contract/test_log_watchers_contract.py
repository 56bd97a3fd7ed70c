"""What every log backend promises to readers and workers, and to callers whose replies are lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import ModelChunk, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, Renewal, RunEnd, WorkerInfo, WriteResult, WriteStatus
from tests.contract.contract_calls import (
    AGENT,
    CANCEL,
    FACT,
    MINUTE,
    after,
    append,
    claimed,
    reaped,
    submitted,
    try_claim,
)

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CHUNK = encode_record(ModelChunk(at=5, chunk={"contentBlockDelta": {"delta": {"text": "x"}}}))


def ending(claim: Claim) -> RunEnd:
    message: Message = {"role": "user", "content": [{"text": "kept"}]}
    return RunEnd(after(claim, [FACT]), "completed", claim.session, [message])


# ---------------------------------------------------------------- readers


async def long_run(log: Log) -> str:
    """A run of 10 records, the last 8 by one owner."""
    run_id = await submitted(log)
    await append(log, after(await claimed(log), [FACT] * 8))
    return run_id


async def test_read_pages(log: Log) -> None:
    run_id = await long_run(log)
    pages = [[entry.seq for entry in await log.read(run_id, after=after, limit=4)] for after in (0, 4, 8, 10, 99)]
    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], [], []]
    assert [entry.seq for entry in await log.read(run_id, after=3)] == [4, 5, 6, 7, 8, 9, 10]


async def test_segments_are_the_entries_by_owner(log: Log) -> None:
    run_id = await submitted(log)
    first = await claimed(log)
    result = await append(log, after(first, [FACT] * 3))
    await log.release(Batch(run_id, first.token, result.head, [FACT]))
    second = await claimed(log)
    await append(log, after(second, [CHUNK, FACT]))
    segments = await log.read_segments(run_id)
    assert [(one.first, one.epoch, len(one.values)) for one in segments] == [(1, 0, 1), (2, 1, 5), (7, 2, 3)]
    assert [entry for segment in segments for entry in segment.entries()] == await log.read(run_id)
    assert segments[-1].values[1] == [1, 5, "x"], "a chunk is given as it is stored"
    page = await log.read_segments(run_id, after=4, limit=3)
    assert [(one.first, one.epoch, one.last) for one in page] == [(5, 1, 6), (7, 2, 7)]
    assert await log.read_segments(run_id, after=9) == await log.read_segments(new_run_id()) == []


async def test_read_back(log: Log) -> None:
    run_id = await long_run(log)
    pages = [
        [entry.seq for entry in await log.read_back(run_id, before=before, limit=4)] for before in (11, 5, 3, 1, 99)
    ]
    assert pages == [[10, 9, 8, 7], [4, 3, 2, 1], [2, 1], [], [10, 9, 8, 7]]
    assert [entry.seq for entry in await log.read_back(run_id, before=3)] == [2, 1]
    forth, back = await log.read(run_id), await log.read_back(run_id, before=11)
    assert forth == back[::-1]


async def test_info_of_unknown_is_none(log: Log) -> None:
    run_id = new_run_id()
    assert await log.info(run_id) is None
    assert await log.read(run_id) == []
    assert await log.read_back(run_id, before=10) == []


async def test_what_a_reader_changes_is_its_own(log: Log) -> None:
    prompt = [{"text": "kept"}]
    run_id = new_run_id()
    await log.submit(NewRun(run_id, AGENT, RunSubmitted(at=0, agent=AGENT, prompt=prompt), "ada"))
    await log.finish(ending(await claimed(log)))
    for _ in range(2):
        (message,), (entry, *_) = await log.messages("ada"), await log.read(run_id)
        assert isinstance(entry.record, RunSubmitted)
        assert (message.get("content"), entry.record.prompt) == ([{"text": "kept"}],) * 2
        message.get("content", []).clear()
        entry.record.prompt.clear()
        prompt.clear()


async def test_runs_are_listed_newest_first(log: Log) -> None:
    assert await log.runs() == []
    order = [await submitted(log, f"run-{number}") for number in range(5)]
    await claimed(log)
    listed = await log.runs()
    assert [info.run_id for info in listed] == order[::-1]
    assert listed == [await log.info(run_id) for run_id in order[::-1]]
    assert await log.runs(limit=2) == listed[:2]


# ---------------------------------------------------------------- workers

ADA = WorkerInfo("w1", ["echo", "assistant"], "host-a", pid=7, concurrency=4, running=2, started=5, extra={"v": "1"})


async def test_workers_are_known_while_they_announce_themselves(log: Log) -> None:
    assert await log.workers() == []
    await log.announce(ADA, ttl_ms=MINUTE)
    await log.announce(WorkerInfo("w2", []), ttl_ms=MINUTE)
    assert sorted(await log.workers(), key=lambda info: info.worker) == [ADA, WorkerInfo("w2", [])]
    await log.announce(WorkerInfo("w2", ["echo"], running=3), ttl_ms=MINUTE)
    await log.withdraw("w1")
    await log.withdraw("unknown")
    assert await log.workers() == [WorkerInfo("w2", ["echo"], running=3)]


async def test_worker_announcements_expire(log: Log) -> None:
    await log.announce(ADA, ttl_ms=1)
    await log.announce(WorkerInfo("w2", []), ttl_ms=MINUTE)
    with anyio.fail_after(10):
        while len(await log.workers()) > 1:
            await anyio.lowlevel.checkpoint()
    assert await log.workers() == [WorkerInfo("w2", [])]


async def woken(log: Log, cause: Callable[[], Awaitable[object]]) -> str | None:
    """What `wait_for_work` gives to a worker asleep when `cause` happens; fails if that does not wake it."""
    result: list[str | None] = []

    async def wait() -> None:
        with anyio.fail_after(3):
            result.append(await log.wait_for_work([AGENT, "other"], worker="w1", timeout=5))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await cause()
    return result[0]


async def test_wait_for_work_wakes_on_submit(log: Log) -> None:
    assert await woken(log, lambda: submitted(log)) is None
    assert await claimed(log)


async def test_wait_for_work_wakes_when_a_run_comes_back(log: Log) -> None:
    await submitted(log)
    await log.wait_for_work([AGENT], worker="w1", timeout=1)  # woken by the submit
    claim = await claimed(log)
    assert await woken(log, lambda: log.release(after(claim))) is None
    await claimed(log, lease_ms=1)
    assert await woken(log, lambda: reaped(log)) is None
    assert (await claimed(log)).run_id == claim.run_id


async def test_wait_for_work_wakes_when_a_session_is_passed_on(log: Log) -> None:
    await submitted(log, session="ada")
    await log.wait_for_work([AGENT], worker="w1", timeout=1)  # woken by the submit
    claim = await claimed(log)
    second = await submitted(log, session="ada")
    assert await woken(log, lambda: log.finish(ending(claim))) is None
    assert (await claimed(log)).run_id == second


async def test_wait_for_work_wakes_on_signal(log: Log) -> None:
    run_id = await submitted(log)
    await log.wait_for_work([AGENT], worker="w1", timeout=1)  # woken by the submit
    await claimed(log)
    assert await woken(log, lambda: log.signal(run_id, CANCEL)) == run_id


async def test_what_came_before_the_wait_ends_it_at_once(log: Log) -> None:
    run_id = await submitted(log)
    with anyio.fail_after(3):
        assert await log.wait_for_work([AGENT], worker="w1", timeout=5) is None
    await claimed(log)
    await log.signal(run_id, CANCEL)
    with anyio.fail_after(3):
        assert await log.wait_for_work([AGENT], worker="w1", timeout=5) == run_id


async def test_wait_for_work_ends_by_itself(log: Log) -> None:
    await submitted(log)
    await log.wait_for_work([AGENT], worker="w1", timeout=1)  # woken by the submit
    await claimed(log)
    start = anyio.current_time()
    assert await log.wait_for_work([AGENT], worker="w1", timeout=1) is None
    assert 0.9 <= anyio.current_time() - start < 5


# ---------------------------------------------------------------- lost replies


async def everything(log: Log) -> Any:
    """All that a log gives to its readers."""
    runs = await log.runs()
    return [
        (info, await log.read(info.run_id), await log.inbox(info.run_id), await log.messages(info.session or ""))
        for info in runs
    ] + [await log.workers()]


async def twice(log: Log, write: Callable[[], Awaitable[Any]]) -> tuple[Any, Any]:
    """Both replies to one write whose first reply was lost; what the log holds must not change."""
    first = await write()
    before = await everything(log)
    second = await write()
    assert await everything(log) == before
    return first, second


@pytest.mark.parametrize("name", ["append", "finish", "release", "pause"])
async def test_an_owners_write_sent_twice_is_one(log: Log, name: str) -> None:
    run_id = await submitted(log, session="ada")
    await submitted(log, session="ada")
    claim = await claimed(log)
    await log.signal(run_id, CANCEL)
    await log.signal(run_id, Signal("s2", "steer"))
    batch = after(claim, [FACT, FACT], ack=2 if name == "finish" else 1)
    writes: dict[str, Callable[[], Awaitable[WriteResult]]] = {
        "append": lambda: append(log, batch),
        "release": lambda: log.release(batch),
        "pause": lambda: log.pause(batch, interrupts=["i1"]),
        "finish": lambda: log.finish(RunEnd(batch, "completed", "ada", [{"role": "user", "content": []}])),
    }
    first, second = await twice(log, writes[name])
    left = 0 if name == "finish" else 1
    assert (first, second) == (WriteResult(WriteStatus.OK, 4, left), WriteResult(WriteStatus.DUP, 4, left))


@pytest.mark.parametrize("name", ["finish", "release", "pause"])
async def test_an_empty_last_write_sent_twice_is_one(log: Log, name: str) -> None:
    await submitted(log, session="ada")
    batch = after(await claimed(log))
    writes: dict[str, Callable[[], Awaitable[WriteResult]]] = {
        "release": lambda: log.release(batch),
        "pause": lambda: log.pause(batch, interrupts=["i1"]),
        "finish": lambda: log.finish(RunEnd(batch, "completed", "ada", [{"role": "user", "content": []}])),
    }
    assert await twice(log, writes[name]) == (WriteResult(WriteStatus.OK, 2), WriteResult(WriteStatus.DUP, 2))


async def test_every_other_write_sent_twice_is_one(log: Log) -> None:
    new = NewRun(new_run_id(), AGENT, RunSubmitted(at=0, agent=AGENT), "ada")
    assert await twice(log, lambda: log.submit(new)) == (True, False)
    queued = await submitted(log, session="ada")
    first, second = await twice(log, lambda: try_claim(log, token="t1"))
    assert first == second
    assert await twice(log, lambda: log.renew([(new.run_id, "t1")], lease_ms=MINUTE)) == ([Renewal(ours=True)],) * 2
    assert await twice(log, lambda: log.signal(new.run_id, CANCEL)) == ("running",) * 2
    assert await twice(log, lambda: log.signal(queued, CANCEL)) == ("cancelled",) * 2
    await twice(log, lambda: log.announce(ADA, ttl_ms=MINUTE))
    await twice(log, lambda: log.withdraw("w1"))
