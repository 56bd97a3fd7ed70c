"""Whatever is done to a file of runs, reading it gives one of playhead's errors with the file's name, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.file.export import Exported, export_lines
from playhead.runtime.log.file.importing import import_runs
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.memory import MemoryLog
from tests.support.told_runs import with_run

__all__: list[str] = []

CHANGES = [
    "",
    "0",
    "-1",
    "null",
    "[]",
    "{}",
    '"',
    "\\",
    "1e400",
    "[[",
    "seq",
    "true",
    "\n",
    "\x00",
    "\ud83d",
    "9" * 30,
    '""',
]


async def _whole() -> str:
    log = MemoryLog()
    await with_run(log, "r")
    return b"".join([block async for block in export_lines(log, ["r"], Exported())]).decode()


WHOLE = anyio.run(_whole)


def sealed(text: str) -> bytes:
    """The same with the last line that it needs, so that the digest does not tell of the change."""
    body = text.encode("utf-8", "surrogatepass")
    lines = body.split(b"\n")[:-1]
    records = sum(line.startswith(b'{"seq"') for line in lines)
    last = {"lines": len(lines), "records": records, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(last).encode() + b"\n"


async def read(path: Path) -> None:
    """Everything that can be asked of a file."""
    with FileLog(path) as file:
        for run_id in file.run_ids:
            info = await file.info(run_id)
            assert info is not None
            await file.messages(info.session or "")
            entries = await file.read(run_id)
            assert [entry.seq for entry in entries] == [*range(1, info.head + 1)]
            for entry in entries:
                await file.definition(run_id, str(dict(entry.record).get("definition")))
        await import_runs(file, MemoryLog())


def refused_or_read(content: bytes) -> str:
    """The error, which names the file if it is one of playhead's; empty if the file was read."""
    refusal: Exception | None = None
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.jsonl")
        path.write_bytes(content)
        try:
            anyio.run(read, path)
        except (PlayheadError, ValueError) as error:
            refusal = error
    assert str(path) in str(refusal) or not isinstance(refusal, PlayheadError), refusal
    return str(refusal or "")


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 3), st.sampled_from(CHANGES))
def test_a_file_that_was_edited_without_a_new_digest_is_always_refused(at: int, cut: int, change: str) -> None:
    edited = WHOLE[:at] + change + WHOLE[at + cut :]
    if edited != WHOLE:
        assert refused_or_read(edited.encode("utf-8", "surrogatepass"))


@given(st.data())
def test_a_file_that_was_edited_and_sealed_again_is_read_or_refused(data: st.DataObject) -> None:
    lines = WHOLE.splitlines(keepends=True)[:-1]
    for _ in range(data.draw(st.integers(1, 2), "changes")):
        number = data.draw(st.integers(0, len(lines) - 1), "line")
        at = data.draw(st.integers(0, len(lines[number])), "at")
        cut = data.draw(st.integers(0, 12), "cut")
        lines[number] = lines[number][:at] + data.draw(st.sampled_from(CHANGES), "change") + lines[number][at + cut :]
    refused_or_read(sealed("".join(lines)))


@given(st.data())
def test_a_field_of_another_type_is_read_or_refused(data: st.DataObject) -> None:
    lines = WHOLE.splitlines()[:-1]
    number = data.draw(st.integers(1, len(lines) - 1), "line")
    held = json.loads(lines[number])
    key = data.draw(st.sampled_from(sorted(held)), "field")
    held[key] = data.draw(
        st.sampled_from([None, True, 5, -1, 1.5, "x", "", [], [1, 2, 3], [0, 1, {}], {}, {"type": []}]), "value"
    )
    lines[number] = json.dumps(held)
    refused_or_read(sealed("".join(f"{line}\n" for line in lines)))
