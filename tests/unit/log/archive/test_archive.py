"""An archive tells what it has without reading whole files; what is damaged in it is named and hides nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from playhead.runtime.core.errors import ArchiveError, GapError, RunFileError
from playhead.runtime.log.archive.archive import Archive, entry_name
from playhead.runtime.log.archive.archiving import archive_runs
from playhead.runtime.log.archive.log import ArchivedLog
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import EncodedEntry, ImportedRun
from tests.contract.test_log_import_contract import SAID, ended_run, entries, pages

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with closing(Archive(tmp_path / "kept")) as made:
        yield made


async def log_of(*runs: ImportedRun | str) -> MemoryLog:
    log = MemoryLog()
    for run in runs:
        assert await log.import_run(ended_run(run) if isinstance(run, str) else run, pages(entries()))
    return log


async def archived(log: MemoryLog, archive: Archive) -> list[str]:
    return sorted([one.info.run_id async for one in archive_runs(log, archive) if one.error is None])


def files_of(archive: Archive) -> dict[str, Path]:
    folder = Path(archive.where)
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


async def test_the_files_have_names_by_which_they_are_found_and_in_order(archive: Archive) -> None:
    assert await archived(await log_of("a"), archive) == ["a"]
    assert sorted(files_of(archive)) == ["index/1970-01-01/0000000000005-a.json", "runs/a/0000000000005.jsonl.zst"]


async def test_a_list_reads_no_file_of_a_run(archive: Archive) -> None:
    run = replace(ended_run("a"), info=replace(ended_run("a").info, session="s", worker="w", deadline=7))
    assert await archived(await log_of(run), archive) == ["a"]
    files_of(archive)["runs/a/0000000000005.jsonl.zst"].write_bytes(b"damaged")
    empty = ArchivedLog(MemoryLog(), archive)
    assert await empty.runs() == [await empty.info("a")] == [run.info]


async def test_a_damaged_file_is_named_when_it_is_read(archive: Archive) -> None:
    assert await archived(await log_of("a", "b"), archive) == ["a", "b"]
    path = files_of(archive)["runs/a/0000000000005.jsonl.zst"]
    whole = path.read_bytes()
    empty = ArchivedLog(MemoryLog(), archive)
    for damaged in (whole[:-9], b"\x28\xb5\x2f\xfd" + whole[9:], b"something else"):
        path.write_bytes(damaged)
        with pytest.raises(RunFileError, match=r"runs/a/0000000000005\.jsonl\.zst"):
            await empty.read("a")
    assert await empty.read_encoded("b") == entries()
    path.write_bytes(whole)
    assert await empty.read_encoded("a") == entries()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is not JSON"),
        (b"[]", "it is not an entry of an archive"),
        (b'{"format": "playhead-archived-run", "version": 2}', "it is of version 2, and this playhead reads 1"),
        (b'{"format": "playhead-archived-run", "version": 1}', "'run' is missing"),
        (b'{"format": "playhead-archived-run", "version": 1, "run": "a"}', "the run's state is None"),
    ],
)
async def test_a_damaged_entry_is_named_and_hides_no_other_run(
    archive: Archive, caplog: pytest.LogCaptureFixture, data: bytes, told: str
) -> None:
    assert await archived(await log_of("a", "b"), archive) == ["a", "b"]
    files_of(archive)["index/1970-01-01/0000000000005-a.json"].write_bytes(data)
    empty = ArchivedLog(MemoryLog(), archive)
    assert [info.run_id for info in await empty.runs()] == ["b"]
    assert f"index/1970-01-01/0000000000005-a.json: {told}" in caplog.text
    assert await empty.info("a") == ended_run("a").info, "its file tells what the entry should"


async def test_what_is_not_of_the_archive_is_left_alone(archive: Archive) -> None:
    assert await archived(await log_of("a"), archive) == ["a"]
    for name in ("notes.txt", "index/notes.txt", "index/1970-01-01/notes.txt", "runs/notes.txt", "runs/a/notes.txt"):
        (Path(archive.where) / name).write_bytes(b"mine")
    empty = ArchivedLog(MemoryLog(), archive)
    assert await empty.runs() == [await empty.info("a")]
    assert await empty.read_encoded("a") == entries()


async def test_the_newest_runs_come_first_over_days_and_times(archive: Archive) -> None:
    times = {"first": -5, "b": 0, "a": 0, "next": 86_400_000, "last": 10**17}
    runs = [replace(ended_run(name), info=replace(ended_run(name).info, created=at)) for name, at in times.items()]
    assert len(await archived(await log_of(*runs), archive)) == 5
    listed = await archive.runs(limit=10)
    assert [info.run_id for info in listed] == ["last", "next", "first", "b", "a"]
    assert [info.created for info in listed] == [10**17, 86_400_000, -5, 0, 0]
    assert await archive.runs(limit=2) == listed[:2]


@pytest.mark.parametrize("run_id", ["..", ".hidden", "a/../../b", "Ä ö", "%2E", "x" * 200])
async def test_any_run_id_is_one_file_in_the_archive(archive: Archive, run_id: str) -> None:
    assert await archived(await log_of(run_id), archive) == [run_id]
    assert len(files_of(archive)) == 2
    empty = ArchivedLog(MemoryLog(), archive)
    assert [info.run_id for info in await empty.runs()] == [run_id]
    assert await empty.read_encoded(run_id) == entries()


async def test_another_run_of_an_id_that_was_archived_does_not_replace_it(archive: Archive) -> None:
    late = replace(ended_run("a"), info=replace(ended_run("a").info, created=86_400_007))
    for run in (ended_run("a"), late):
        assert await archived(await log_of(run), archive) == ["a"]
    assert len(files_of(archive)) == 4
    assert await archive.runs(limit=9) == [late.info]
    assert await archive.info("a") == late.info


async def test_a_run_with_damaged_records_holds_up_no_other(archive: Archive) -> None:
    class Gaps(MemoryLog):
        async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
            found = await super().read_encoded(run_id, after=after, limit=limit)
            return found[1:] if run_id == "b" else found

    log = Gaps()
    for run_id in "abc":
        await log.import_run(ended_run(run_id), pages(entries()))
    found = {one.info.run_id: one.error async for one in archive_runs(log, archive)}
    assert [run_id for run_id, error in found.items() if error is None] in (["c", "a"], ["a", "c"])
    assert isinstance(found["b"], GapError)
    assert await archive.info("b") is None


async def test_the_messages_of_a_session_are_those_of_its_last_archived_run(archive: Archive) -> None:
    long, short = ended_run("long", said=SAID), ended_run("short", said=SAID[:1])
    log = await log_of(
        replace(long, info=replace(long.info, session="ada", created=9)),
        replace(short, info=replace(short.info, session="bob")),
    )
    assert len(await archived(log, archive)) == 2
    empty = ArchivedLog(MemoryLog(), archive)
    assert await empty.messages("ada") == []
    for run_id in ("long", "short"):
        await empty.info(run_id)
    assert await empty.messages("ada") == SAID
    assert await empty.messages("bob") == SAID[:1]


async def test_many_readers_open_a_file_once_and_few_stay_open(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"r{number}" for number in range(20)]
    assert len(await archived(await log_of(*ids), archive)) == 20
    opened: list[str] = []
    made = FileLog.__init__

    def counted(self: FileLog, path: str, **rest: object) -> None:
        opened.append(path)
        made(self, path, **rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(FileLog, "__init__", counted)
    empty = ArchivedLog(MemoryLog(), archive)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(empty.read, "r0")
    assert len(opened) == 1
    for run_id in ids:
        assert await empty.read_encoded(run_id) == entries()
    assert len(opened) == 20
    assert await empty.read_encoded("r0") == entries()
    assert len(opened) == 21, "it was closed, because others were asked for since"


async def test_without_zstandard_a_folder_is_written_as_text_and_read(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await archived(await log_of("packed"), archive) == ["packed"]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert await archived(await log_of("plain"), archive) == ["plain"]
    assert json.loads(files_of(archive)["runs/plain/0000000000005.jsonl"].read_text().splitlines()[1])["run"] == "plain"
    empty = ArchivedLog(MemoryLog(), archive)
    assert await empty.read_encoded("plain") == entries()
    with pytest.raises(RunFileError, match=r"packed/.*zst: it is compressed, which needs the extra `archive`"):
        await empty.read_encoded("packed")


async def test_an_archive_at_a_url_is_the_same(tmp_path: Path) -> None:
    with closing(Archive(f"memory://{uuid4().hex}")) as archive:
        log = await log_of("a", "b")
        assert await archived(log, archive) == ["a", "b"]
        assert await archived(log, archive) == []
        empty = ArchivedLog(MemoryLog(), archive)
        assert [info.run_id for info in await empty.runs()] == ["b", "a"]
        assert await empty.read_encoded("a") == entries()


async def test_a_file_of_the_archive_is_read_as_any_other_file_of_runs(archive: Archive) -> None:
    await archived(await log_of("a"), archive)
    with FileLog(files_of(archive)["runs/a/0000000000005.jsonl.zst"]) as file:
        assert await file.read_encoded("a") == entries()


async def test_an_archive_that_cannot_be_written_stops_and_says_where(archive: Archive) -> None:
    log = await log_of("a")
    Path(archive.where).write_bytes(b"a file")
    with pytest.raises(ArchiveError, match=r"kept/"):
        await archived(log, archive)
    Path(archive.where).unlink()
    assert await archived(log, archive) == ["a"]
    assert entry_name("a", ended_run("a").info.created) in files_of(archive)
