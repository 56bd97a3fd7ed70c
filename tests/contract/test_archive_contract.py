"""A run is read at the same cursors while it is in a log, while it is in its archive too, and when it is only there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.archive.archiving import archive_runs
from playhead.runtime.log.archive.log import ArchivedLog
from playhead.runtime.log.interface import ListedLog, Log, LogReader
from playhead.runtime.log.values import NewRun
from tests.contract.test_log_import_contract import DEFINITION, SAID, ended_run, entries, pages

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An archive in a folder that does not exist yet."""
    with closing(Archive(tmp_path / "kept")) as made:
        yield made


async def all_of(log: LogReader, run_id: str) -> Sequence[object]:
    info = await log.info(run_id)
    back = await log.read_back(run_id, before=5, limit=3)
    segments = [await log.read_segments(run_id, after=after, limit=3) for after in (0, 3, 7, 8)]
    said = await log.messages(info.session or "" if info else "")
    definition = await log.definition(run_id, DEFINITION.digest)
    return info, await log.read_encoded(run_id), await log.read(run_id, after=2), back, segments, said, definition


async def archived(log: ListedLog, archive: Archive) -> list[str]:
    found = [one async for one in archive_runs(log, archive)]
    assert not [one.error for one in found if one.error is not None]
    return sorted(one.info.run_id for one in found)


async def delete(log: Log, run_id: str) -> None:
    """As the end of its retention does, which might come before the run is archived."""
    await log.delete_run(run_id)
    assert (await log.info(run_id), await log.read_encoded(run_id)) == (None, [])


async def test_a_run_is_the_same_before_while_and_after_it_moves(log: Log, archive: Archive) -> None:
    both = ArchivedLog(log, archive)
    run = ended_run(new_run_id(), said=SAID)
    run_id = run.info.run_id
    assert await all_of(both, run_id) == await all_of(log, run_id)
    assert await log.import_run(run, pages(entries()))
    before = await all_of(log, run_id)
    assert await archived(log, archive) == [run_id]
    await delete(log, run_id)
    assert await all_of(both, run_id) == before
    archive.close()
    assert await all_of(both, run_id) == before


async def test_each_ended_run_is_archived_once_and_one_that_has_not_ended_is_not(log: Log, archive: Archive) -> None:
    ids = sorted(new_run_id() for _ in range(3))
    for run_id in ids:
        await log.import_run(ended_run(run_id), pages(entries()))
    waiting = new_run_id()
    await log.submit(NewRun(waiting, "other", RunSubmitted(at=0, agent="other")))
    assert await archived(log, archive) == ids
    assert await archived(log, archive) == []
    listed = await ArchivedLog(log, archive).runs()
    assert sorted(info.run_id for info in listed) == sorted([*ids, waiting]), "each once, in whichever place it is"


async def test_the_list_has_the_newest_runs_of_both_places(log: Log, archive: Archive) -> None:
    await log.import_run(ended_run("old"), pages(entries()))
    assert await archived(log, archive) == ["old"]
    await delete(log, "old")
    await log.submit(NewRun("new", "other", RunSubmitted(at=0, agent="other")))
    both = ArchivedLog(log, archive)
    assert [info.run_id for info in await both.runs()] == ["new", "old"]
    assert [info.run_id for info in await both.runs(limit=1)] == ["new"]
    assert (await both.runs())[1] == await both.info("old")
