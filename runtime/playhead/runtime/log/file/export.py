"""Writes runs to a file, from any log. Nothing of the log is changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, cast

from playhead.runtime.core.codec import decode_stored, pack
from playhead.runtime.core.errors import GapError, RunFileError, RunNotFoundError
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.file.form import AsItIs, Redacted, RunForm
from playhead.runtime.log.file.lines import (
    definition_line,
    end_line,
    header_line,
    message_line,
    record_line,
    run_line,
    value_of,
)
from playhead.runtime.log.file.redaction import Redaction
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import PAGE, encoded_pages
from playhead.runtime.log.values import EncodedEntry, RunInfo

__all__ = ["Exported", "export_lines", "export_runs"]


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes:
        runs: How many runs.
        records: How many records.
        unfinished: The runs that had not ended: the file has their records up to then.
    """

    runs: int = 0
    records: int = 0
    unfinished: list[str] = field(default_factory=list[str])


async def export_runs(
    log: LogReader,
    run_ids: Sequence[str],
    path: str | Path,
    *,
    redaction: Redaction | None = None,
    check: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write runs to a file, whole or not at all; an existing file is replaced.

    A run that has not ended is written up to its latest record.

    Args:
        log: The log that has the runs.
        run_ids: The runs, in the order in which they are written.
        path: The file.
        redaction: What is taken out.
        check: Called with the path of what was written, before it gets its name; if it raises, no file is left.

    Raises:
        Exception: What `check` and the redaction's function raise.
        RunNotFoundError: If one of the runs does not exist.
        GapError: If one of its records is missing.
        RunFileError: If the file cannot be written.
        ValueError: If no run is given, or one is given twice.
    """
    target = Path(path)
    told = Exported()
    if target.exists() and not target.is_file():  # a device or a pipe, which the file would take the place of
        raise RunFileError(str(path), 0, "it cannot be written (it is not a regular file)")
    try:
        with NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            await _write(file, export_lines(log, run_ids, told, redaction))
        try:
            check(file.name)
        except BaseException:
            os.unlink(file.name)
            raise
        os.replace(file.name, target)
    except OSError as error:
        raise RunFileError(str(path), 0, f"it cannot be written ({error.strerror})") from error
    return told


async def _write(file: IO[bytes], blocks: AsyncIterator[bytes]) -> None:
    """Write all blocks; a file that does not become whole is removed."""
    try:
        async for block in blocks:
            file.write(block)
    except BaseException:
        os.unlink(file.name)
        raise


async def export_lines(
    log: LogReader, run_ids: Sequence[str], told: Exported, redaction: Redaction | None = None, *, page: int = PAGE
) -> AsyncIterator[bytes]:
    """The bytes of the file, in blocks of whole lines, each of `page` records; `told` counts them. Raises as `export_runs`."""
    if not run_ids or len(set(run_ids)) < len(run_ids):
        raise ValueError("give the id of each run to export once" if run_ids else "give the id of a run to export")
    digest = hashlib.sha256()
    lines = 0
    async for block in _blocks(log, run_ids, told, redaction, page):
        lines += len(block)
        data = _joined(block)
        digest.update(data)
        yield data
    yield _joined([end_line(lines=lines, records=told.records, sha256=digest.hexdigest())])


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@cache
def _playhead() -> str:
    """The version of playhead; to look it up takes longer than to export a short run."""
    return version("playhead-runtime")


async def _blocks(
    log: LogReader, run_ids: Sequence[str], told: Exported, redaction: Redaction | None, page: int
) -> AsyncIterator[list[str]]:
    yield [header_line(runs=len(run_ids), playhead=_playhead())]
    defined: dict[str, str] = {}
    sessions: dict[str, str] = {}
    for run_id in run_ids:
        info = await log.info(run_id)
        if info is None:
            raise _not_found(run_id)
        form = AsItIs() if redaction is None else Redacted(redaction, run_id, sessions)
        yield [run_line(form.info(info))]
        run = _Run(log, info, form, defined)
        async for entries in _pages(log, info, page):
            yield await run.lines(entries)
        told.runs += 1
        told.records += info.head
        told.unfinished += [] if info.ended else [run_id]


def _not_found(run_id: str) -> RunNotFoundError:
    return RunNotFoundError(f"no run {run_id!r}: it was never submitted under this prefix, or it was removed")


async def _pages(log: LogReader, info: RunInfo, size: int) -> AsyncIterator[list[EncodedEntry]]:
    try:
        async for page in encoded_pages(log, info.run_id, head=info.head, page=size):
            yield page
    except GapError as error:
        if await log.info(info.run_id) is None:  # its retention has ended meanwhile
            raise _not_found(info.run_id) from error
        raise


class _Run:
    """Exports one run, up to the head that it has now."""

    def __init__(self, log: LogReader, info: RunInfo, form: RunForm, defined: dict[str, str]) -> None:
        self._log = log
        self._info = info
        self._form = form
        self._defined = defined  # by digest, the digests of the definitions that the file has
        self._said = False  # whether it has the messages that the run began from

    async def lines(self, page: Sequence[EncodedEntry]) -> list[str]:
        """The lines of the next records, and of what they name."""
        lines: list[str] = []
        for entry in page:
            for written in self._form.feed(entry):
                lines += await self._lines(written)
        if page[-1].seq == self._info.head:
            for written in self._form.rest():
                lines += await self._lines(written)
        return lines

    async def _lines(self, entry: EncodedEntry) -> list[str]:
        """The line of a record, after those of what it names and the file has not yet."""
        value = value_of(entry.data)
        lines: list[str] = []
        if type(value) is dict:
            record = cast("dict[str, Any]", value)
            if record.get("type") == "run.claimed" and record.get("definition"):
                digest = str(record["definition"])
                lines += await self._definition(digest)
                if self._defined.get(digest, digest) != digest:
                    value = {**record, "definition": self._defined[digest]}
                    entry = entry._replace(data=pack(value))
            elif (
                not self._said
                and self._info.session
                and (began := BeganFrom.told_by(decode_stored(entry.data))) is not None
            ):
                self._said = True
                lines += await self._messages(began)
        lines.append(record_line(*entry, value))
        return lines

    async def _definition(self, digest: str) -> list[str]:
        if digest in self._defined:
            return []
        stored = await self._log.stored_definition(self._info.run_id, digest)
        if stored is None:  # it was deleted: the file has what the log has
            return []
        stored = self._form.definition(stored)
        self._defined[digest] = stored.digest
        return [definition_line(*stored)]

    async def _messages(self, began: BeganFrom) -> list[str]:
        """The messages that the run began from, of which the file has what the log has."""
        if began.count < 1 or self._info.session is None:
            return []
        said = await self._log.history(self._info.run_id, began)
        return [message_line(number, pack(self._form.message(one))) for number, one in enumerate(said, start=1)]
