"""A reader reads a file or the log of this process as it reads Redis: a tail needs only a `LogReader`."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import anyio
import pytest

from playhead.client.reader import RunReader
from playhead.client.tails.notice import Notice
from playhead.runtime.core.codec import decode_stored, encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import GapError, RunNotFoundError
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    ModelChunk,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunSubmitted,
)
from playhead.runtime.core.segments import Segment, segments
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, page_of, place_by_time
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import Batch, EncodedEntry, LeaseInfo, NewRun, RunEnd, RunInfo, WorkerInfo
from playhead.runtime.models import text_call
from tests.support.readers import reader_of

__all__: list[str] = []

pytestmark = pytest.mark.anyio

RUN = "0-archived"
MESSAGE: Message = {"role": "assistant", "content": [{"text": "Four it is"}]}
SPOKEN: list[Record] = [
    CycleStarted(at=3, cycle=1),
    ModelStarted(at=4),
    *(ModelChunk(at=5, chunk=chunk) for chunk in text_call("Four it is")),
]
END = RunCompleted(at=9, result={"stop_reason": "end_turn", "message": MESSAGE, "metrics": {}, "state": {}})


class Archive:
    """Runs that were kept in files, one record a line: its number, its epoch and its bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, run_id: str, entries: list[Entry]) -> None:
        """Write one run's file."""
        lines = [json.dumps([seq, epoch, b64encode(encode_record(one)).decode()]) for seq, epoch, one in entries]
        (self._directory / run_id).write_text("\n".join(lines))

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        path = self._directory / run_id
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [(seq, epoch, data) for seq, epoch, data in map(json.loads, lines) if seq > after][:limit]
        return segments([(seq, epoch) for seq, epoch, _ in kept], [decode_stored(b64decode(one[2])) for one in kept])

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        found = await self.read(run_id, after=after, limit=limit)
        return [EncodedEntry(seq, epoch, encode_record(record)) for seq, epoch, record in found]

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        return [entry for entry in await self.read(run_id) if entry.seq < before][::-1][:limit]

    async def info(self, run_id: str) -> RunInfo | None:
        entries = await self.read(run_id)
        if not entries:
            return None
        last = entries[-1]
        return RunInfo(run_id, "completed", "a", None, last.seq, last.epoch, crashes=0, created=1, updated=9)

    async def lease(self, run_id: str) -> LeaseInfo | None:
        return None

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir() if path.name.startswith(beginning))[:limit]

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        found = [await self.info(run_id) for run_id in await self.find_ids("")]
        listed = [ListedRun(place_by_time(info), info) for info in found if info is not None]
        return page_of(listed, filters, limit=limit, after=after)

    async def messages(self, session: str) -> list[Message]:
        return []

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        return []

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        return None

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        return None

    async def holder(self, session: str) -> str | None:
        return None

    async def workers(self) -> list[WorkerInfo]:
        return []


def archived(directory: Path, *, without: int = 0) -> RunReader:
    records = [RunSubmitted(at=1, agent="a"), RunClaimed(at=2, worker="w"), *SPOKEN, END]
    entries = [Entry(seq, int(seq > 1), record) for seq, record in enumerate(records, 1)]
    archive = Archive(directory)
    archive.keep(RUN, [entry for entry in entries if entry.seq != without])
    return reader_of(archive, RUN)


def said(events: list[Event]) -> str:
    return "".join(event["data"] for event in events if "data" in event)


async def test_a_file_is_streamed_replayed_and_asked_for_its_result(tmp_path: Path) -> None:
    run = archived(tmp_path)
    events = [event async for event in run.stream_async()]
    assert said(events) == "Four it is"
    assert "result" in events[-1]
    assert [event async for event in run.replay(speed=None)] == events
    assert str(await run.result()) == "Four it is\n"
    assert [entry.seq async for entry in run.records()] == list(range(1, events[-1].seq + 1))
    assert (await run.info()).state == "completed"
    assert await run.pause() is None


async def test_a_file_is_rejoined_at_any_cursor(tmp_path: Path) -> None:
    run = archived(tmp_path)
    events = [event async for event in run.stream_async()]
    for index, event in enumerate(events, 1):
        assert [each async for each in run.stream_async(after=event.cursor)] == events[index:]


async def test_a_hole_in_a_file_is_a_gap(tmp_path: Path) -> None:
    run = archived(tmp_path, without=6)
    with pytest.raises(GapError, match="record 6 is missing"):
        [entry async for entry in run.records()]


async def test_a_file_without_an_end_is_a_gap(tmp_path: Path) -> None:
    last = len(SPOKEN) + 3
    with pytest.raises(GapError, match=f"record {last} is missing"):
        [entry async for entry in archived(tmp_path, without=last).records()]


async def test_a_run_that_is_not_archived_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        [event async for event in reader_of(Archive(tmp_path), RUN).stream_async()]


async def test_the_log_of_this_process_is_followed_live_although_it_publishes_nothing() -> None:
    log = MemoryLog()
    await log.submit(NewRun("r", "a", RunSubmitted(at=1, agent="a")))
    notices: list[str] = []
    served = anyio.Event()

    def on_notice(notice: Notice) -> None:
        notices.append(notice.kind)
        served.set()

    events: list[Event] = []
    seen = anyio.Event()

    async def watch() -> None:
        async for event in reader_of(log, "r", on_notice=on_notice).stream_async():
            events.append(event)
            if event.get("data"):
                seen.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await served.wait()
        claimed = encode_record(RunClaimed(at=2, worker="w"))
        claim = await log.claim({"a": claimed}, worker="w", token="t", lease_ms=60_000)
        assert claim is not None
        (result,) = await log.append([Batch("r", "t", claim.head, [encode_record(one) for one in SPOKEN])])
        await seen.wait()
        await log.finish(RunEnd(Batch("r", "t", result.head, [encode_record(END)]), "completed"))
    assert notices == ["no_worker"]
    assert said(events) == "Four it is"
    assert "result" in events[-1]
