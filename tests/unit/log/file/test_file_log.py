"""A file of runs is read as any other log, if it is whole; what is wrong with it is told with the number of the line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import ForeignRecordError, RunExistsError, RunFileError, RunNotFoundError
from playhead.runtime.core.records import RunFailed, RunSubmitted
from playhead.runtime.core.requests import request_of
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.importing import import_runs
from playhead.runtime.log.file.index import lines_of
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import EncodedEntry, NewRun, RunInfo
from tests.support.told_runs import DEFINITION, SAID, told, with_run

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Exported = Callable[..., Awaitable[Path]]


def sealed(lines: list[str]) -> str:
    """A file of these lines, with the last line that they need."""
    body = "".join(f"{line}\n" for line in lines)
    records = sum(line.startswith('{"seq"') for line in lines)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return body + json.dumps({"lines": len(lines), "records": records, "sha256": digest}) + "\n"


def refused(path: Path, message: str) -> None:
    with pytest.raises(RunFileError, match=re.escape(f"{path}") + message) as caught:
        FileLog(path)
    assert "\n" not in str(caught.value)


async def test_a_file_has_the_run_its_records_definition_and_the_messages_it_began_from(exported: Exported) -> None:
    log = MemoryLog()
    await with_run(log, "r")
    with FileLog(await exported("r")) as file:
        head = (await log.read("r"))[-1].seq
        assert [(entry.seq, entry.epoch) for entry in await file.read("r")] == [
            (entry.seq, entry.epoch) for entry in await log.read("r")
        ]
        assert len(await file.read("r")) == head == len(told()) + 5
        assert await file.definition("r", DEFINITION.stored().digest) == DEFINITION
        assert await file.stored_definition("r", DEFINITION.stored().digest) == DEFINITION.stored()
        assert await file.messages("ada") == await file.messages_of("r") == SAID
        assert await file.messages("bob") == []
        assert [info.run_id for info in await file.runs()] == ["r"]
        assert (await file.lease("r"), await file.holder("ada"), await file.workers()) == (None, None, [])
        assert await file.info("other") is None
        assert await file.read("other") == await file.read_back("other", before=5) == []
        assert await file.stored_definition("other", DEFINITION.stored().digest) is None


class Removing(MemoryLog):
    """A log whose runs are removed after the first look at them."""

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        return []

    async def info(self, run_id: str) -> RunInfo | None:
        self.looks = getattr(self, "looks", 0) + 1
        return await super().info(run_id) if self.looks == 1 else None


async def test_a_run_that_is_removed_during_its_export_is_not_found_and_leaves_no_file(tmp_path: Path) -> None:
    log = Removing()
    await log.submit(NewRun("r", "a", RunSubmitted(at=1, agent="a")))
    with pytest.raises(RunNotFoundError, match="no run 'r'"):
        await export_runs(log, ["r"], tmp_path / "run.jsonl")
    assert list(tmp_path.iterdir()) == []


async def test_every_page_of_a_file_begins_where_it_is_asked_for_in_any_order(exported: Exported) -> None:
    with FileLog(await exported("r")) as file:
        every = await file.read_encoded("r")
        for after in [0, 7, 7, 3, len(every) - 1, len(every), 0]:
            for limit in (1, 4, 99):
                assert await file.read_encoded("r", after=after, limit=limit) == every[after : after + limit]
                found = [entry.seq for entry in await file.read_back("r", before=after + 1, limit=limit)]
                assert found == list(range(after, max(0, after - limit), -1))


async def test_a_file_of_several_runs_has_a_definition_once_and_each_runs_messages(exported: Exported) -> None:
    path = await exported("b", "a", sessions=["ada", "bob"])
    assert path.read_text().count('{"definition"') == 1
    with FileLog(path) as file:
        assert file.run_ids == ["b", "a"]
        assert await file.messages("ada") == await file.messages("bob") == SAID
        for run_id in file.run_ids:
            assert await file.definition(run_id, DEFINITION.stored().digest) == DEFINITION


async def test_the_request_of_a_call_is_known_from_the_file_alone(exported: Exported) -> None:
    with FileLog(await exported("r")) as file:
        entries = [entry for entry in await file.read("r") if entry.seq <= 6]
        definition = await file.definition("r", DEFINITION.stored().digest)
        assert definition is not None
        request = request_of(entries, definition=definition, session=await file.messages("ada"))
        assert request.messages == SAID
        assert request.system_prompt == DEFINITION.system_prompt


# ---------------------------------------------------------------- import


async def test_an_imported_run_is_the_one_that_was_exported(exported: Exported, tmp_path: Path) -> None:
    path, log = await exported("r"), MemoryLog()
    with FileLog(path) as file:
        assert await import_runs(file, log) == ["r"]
        assert await import_runs(file, log, as_id="copy") == ["copy"]
        for run_id in ("r", "copy"):
            assert await log.read_encoded(run_id) == await file.read_encoded("r")
            info = await log.info(run_id)
            assert info is not None
            assert (info.state, info.session) == ("completed", f"imported-{run_id}")
            assert await log.messages(info.session or "") == SAID
            assert await log.stored_definition(run_id, DEFINITION.stored().digest) == DEFINITION.stored()
        with pytest.raises(RunExistsError, match=r"'r' exists already.*--as NEW_ID"):
            await import_runs(file, log)
    await export_runs(log, ["r"], tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text().splitlines()[2:-1] == path.read_text().splitlines()[2:-1]


async def test_a_run_that_had_not_ended_is_imported_as_failed_with_one_record_more(exported: Exported) -> None:
    log = MemoryLog()
    with FileLog(await exported("r", ended=False)) as file:
        await import_runs(file, log)
        before = await file.read_encoded("r")
        *same, last = await log.read_encoded("r")
        assert same == before
        info = await log.info("r")
        assert info is not None
        assert (info.state, info.head, info.worker) == ("failed", len(before) + 1, None)
    record = (await log.read("r"))[-1].record
    assert isinstance(record, RunFailed)
    assert (last.epoch, record.error_type) == (2, "ExportedUnfinished")
    assert f"was running when it was exported, after record {len(before)}" in record.message


async def test_a_file_of_two_runs_is_imported_whole_or_not_at_all(exported: Exported) -> None:
    log = MemoryLog()
    await with_run(log, "b")
    with FileLog(await exported("a", "b")) as file:
        with pytest.raises(RunExistsError, match="'b'"):
            await import_runs(file, log)
        assert await log.info("a") is None
        with pytest.raises(ValueError, match="has 2 runs, and one id"):
            await import_runs(file, log, as_id="c")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"state": "completed"', '"state": "failed"', "is failed, and its last record is a run.completed"),
        (
            '"record": {"v": 1, "type": "run.submitted"',
            '"record": {"v": 1, "type": "run.taken"',
            "record 1 .* run.taken",
        ),
        ("Be brief, Ada.", "Be brief, Bob.", "has another digest"),
    ],
)
async def test_a_file_that_contradicts_itself_is_not_imported(exported: Exported, old: str, new: str, why: str) -> None:
    path, log = await exported("r"), MemoryLog()
    text = path.read_text()
    assert old in text
    path.write_text(sealed(text.replace(old, new).splitlines()[:-1]))
    with FileLog(path) as file, pytest.raises(RunFileError, match=why):
        await import_runs(file, log)
    assert await log.runs() == []


# ---------------------------------------------------------------- export


async def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    log = MemoryLog()
    await with_run(log, "r")
    with pytest.raises(RunNotFoundError, match="no run 'other'"):
        await export_runs(log, ["r", "other"], tmp_path / "run.jsonl")

    def refuse(path: str) -> None:
        with FileLog(path) as file:
            assert file.run_ids == ["r"]
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await export_runs(log, ["r"], tmp_path / "run.jsonl", check=refuse)
    for wrong in ([], ["r", "r"]):
        with pytest.raises(ValueError, match="give the id of"):
            await export_runs(log, wrong, tmp_path / "run.jsonl")
    with pytest.raises(RunFileError, match="cannot be written"):
        await export_runs(log, ["r"], tmp_path / "missing" / "run.jsonl")
    assert list(tmp_path.iterdir()) == []
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(RunFileError, match="it is not a regular file"):
        await export_runs(log, ["r"], pipe)
    assert pipe.is_fifo(), "a device or a pipe is left as it is"


async def test_a_run_that_goes_on_is_exported_up_to_its_present_record(tmp_path: Path) -> None:
    log = MemoryLog()
    await with_run(log, "r", ended=False)
    told_of = await export_runs(log, ["r"], tmp_path / "run.jsonl")
    assert told_of.unfinished == ["r"]
    with FileLog(tmp_path / "run.jsonl") as file:
        assert await file.info("r") == await log.info("r")
        assert await file.read_encoded("r") == await log.read_encoded("r")


async def test_a_definition_that_is_not_in_the_log_any_more_is_not_in_the_file(tmp_path: Path) -> None:
    class Without(MemoryLog):
        async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
            return None

    log = Without()
    await with_run(log, "r")
    await export_runs(log, ["r"], tmp_path / "run.jsonl")
    with FileLog(tmp_path / "run.jsonl") as file:
        assert await file.definition("r", DEFINITION.stored().digest) is None


# ---------------------------------------------------------------- bad files


async def test_a_file_cut_anywhere_is_refused(exported: Exported) -> None:
    path = await exported("r")
    whole = path.read_bytes()
    first = whole.index(b"\n")
    for end in [*range(first, len(whole) - 1, 41), len(whole) - 1]:
        path.write_bytes(whole[:end])
        refused(path, r", line \d+: (the file ends here, without the line with the digest|it is not JSON)")


async def test_every_edited_line_is_found(exported: Exported) -> None:
    path = await exported("r")
    lines = path.read_text().splitlines()
    for number in range(1, len(lines) - 1):
        edited = [*lines]
        edited[number] = edited[number].replace("}", " }", 1)
        path.write_text("\n".join(edited) + "\n")
        refused(path, rf", line {len(lines)}: .* it was edited or damaged")
    for number in range(2, len(lines) - 1):
        path.write_text("\n".join(lines[:number] + lines[number + 1 :]) + "\n")
        refused(path, r", line \d+: ")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: [lines[0], *lines[2:]], ", line 2: a record before the line of its run"),
        (lambda lines: [lines[0], lines[1], *lines[1:]], ", line 3: run r begins again"),
        (lambda lines: [*lines[:4], *lines[5:]], r", line \d+: record \d+ of run r, where \d+ must come"),
        (lambda lines: lines[:-1], r", line \d+: run r has \d+ records by line 2, and \d+ here"),
        (
            lambda lines: [lines[0], lines[1].replace('"running"', '"resting"').replace('"completed"', '"resting"')],
            "state",
        ),
        (lambda lines: [lines[0], lines[1].replace('"head": ', '"head": "x')], ", line 2: it is not JSON"),
        (
            lambda lines: [lines[0], lines[1].replace('"created": ', '"created": "", "was": ')],
            ", line 2: the run's created",
        ),
        (lambda lines: [*lines[:-1], lines[-1].replace('"epoch": 2', '"epoch": 9')], ", line .* is of owner 9"),
        (lambda lines: [line.replace('{"message": 2', '{"message": 3') for line in lines], "message 3, where 2"),
    ],
)
async def test_lines_that_do_not_fit_together_are_refused(
    exported: Exported, change: Callable[[list[str]], list[str]], why: str
) -> None:
    path = await exported("r")
    path.write_text(sealed(change(path.read_text().splitlines()[:-1])))
    refused(path, f".*{why}")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", ", line 1: it is empty"),
        (b"hello\n", ", line 1: this is not a file of runs"),
        (b"\x00\xff" * 9000, ", line 1: this is not a file of runs"),
        (b'{"format": "other", "version": 1}\n', ", line 1: this is not a file of runs"),
        (
            b'{"format": "playhead-runs", "version": 2, "playhead": "9.0"}\n',
            ", line 1: format version 2, .*9.0.* reads 1",
        ),
        (gzip.compress(b"x", mtime=0), ": it is compressed; uncompress it first: gzip -d"),
        (b"\x28\xb5\x2f\xfd\x00", ": nothing of it can be uncompressed: it was cut short"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    refused(path, why)


async def test_what_cannot_be_opened_or_goes_on_after_its_end_is_refused(exported: Exported, tmp_path: Path) -> None:
    refused(tmp_path / "none.jsonl", ": it cannot be opened")
    refused(tmp_path, ": it cannot be")
    path = await exported("r")
    path.write_bytes(path.read_bytes() + b"{}\n")
    refused(path, r", line \d+: it comes after the last line")


def test_a_line_that_never_ends_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        file.truncate(2 << 30)  # two gigabytes, none of which is on the disk
    with path.open("rb") as file, pytest.raises(RunFileError, match=r"line 2: it is longer than 1,000 bytes"):
        list(lines_of(file, str(path), longest=1000))
    refused(path, ", line 1: this is not a file of runs")


async def test_a_number_of_a_record_that_is_infinite_is_refused(exported: Exported) -> None:
    path = await exported("r")
    path.write_text(path.read_text().replace('{"seq": 3,', '{"seq": 1e400,'))
    refused(path, r", line \d+: .*infinity")


async def test_what_a_newer_version_adds_is_carried_and_skipped(exported: Exported) -> None:
    path = await exported("r")
    lines = path.read_text().splitlines()[:-1]
    lines[1] = lines[1][:-1] + ', "mood": "good"}'
    lines = [line.replace('"type": "run.handed_over"', '"type": "run.flew"') for line in lines]
    lines.insert(3, '{"blob": "of a newer version"}')
    path.write_text(sealed(lines))
    log = MemoryLog()
    with FileLog(path) as file:
        assert [entry.record.type for entry in await file.read("r")][2:3] == ["run.flew"]
        await import_runs(file, log)
        assert await log.read_encoded("r") == await file.read_encoded("r")


async def test_a_record_that_playhead_did_not_write_is_told_with_its_line(exported: Exported) -> None:
    path = await exported("r")
    lines = path.read_text().splitlines()[:-1]
    lines[-1] = re.sub('"record": .*', '"bytes": "//8="}', lines[-1])
    path.write_text(sealed(lines))
    with FileLog(path) as file:
        head = len(await file.read_encoded("r"))
        with pytest.raises(ForeignRecordError, match=rf"run.jsonl, line {len(lines)}: not a playhead record"):
            await file.read("r")
        assert len(await file.read("r", limit=head - 1)) == head - 1


async def test_a_file_that_changes_while_it_is_open_is_noticed(exported: Exported) -> None:
    path = await exported("r")
    text = path.read_text()
    with FileLog(path) as file:
        path.write_text(text.replace("\n", "\n{}\n", 1))
        with pytest.raises(RunFileError, match="line"):
            await file.read("r")
        path.write_text(text[: len(text) // 2])
        with pytest.raises(RunFileError, match="line"):
            await file.read("r")


async def test_a_run_without_an_owner_is_a_file_of_one_record(tmp_path: Path) -> None:
    log = MemoryLog()
    await log.submit(NewRun("queued", "teller", RunSubmitted(at=1, agent="teller")))
    await export_runs(log, ["queued"], tmp_path / "run.jsonl")
    with FileLog(tmp_path / "run.jsonl") as file:
        assert [(entry.epoch, entry.record.type) for entry in await file.read("queued")] == [(0, "run.submitted")]
