"""Reads a file of runs once, from its first byte to its last, to check that it is whole and to index it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NoReturn

from playhead.runtime.core.errors import RunFileError
from playhead.runtime.log.file.lines import FORMAT, LONGEST_LINE, RECORD_LINE, VERSION, info_of_line, parse
from playhead.runtime.log.values import RunInfo

__all__ = ["EVERY", "FileIndex", "Line", "RunPlaces", "lines_of", "read_index"]

EVERY: Final = 256
"""The place of every so many records of a run is kept: the rest are found from there."""

_LONGEST_HEADER: Final = 4096
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and its place: its number from 1 and its first byte."""

    number: int
    offset: int
    data: bytes


@dataclass(slots=True)
class RunPlaces:
    """Where a run's lines are.

    Attributes:
        offsets, numbers: The first byte and the number of the lines of records 1, 1 + `EVERY`, …
        messages: The first byte and the number of the line of each message that the run began from.
    """

    info: RunInfo
    line: int
    head: int = 0
    epoch: int = 0
    offsets: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    messages: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@dataclass(slots=True)
class FileIndex:
    """What a file has: its runs in their order, and where the definitions are that their claims name."""

    runs: dict[str, RunPlaces] = field(default_factory=dict[str, RunPlaces])
    definitions: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


def lines_of(
    file: BinaryIO, path: str, *, offset: int = 0, number: int = 1, longest: int = LONGEST_LINE
) -> Iterator[Line]:
    """The lines of a file from a place on, each with its end; a file without line ends is not read whole.

    Raises:
        RunFileError: If a line is longer than `longest`, or the file cannot be read or was closed.
    """
    if file.closed:
        raise RunFileError(path, 0, "it was closed; open it again")
    file.seek(offset)
    while True:
        try:
            data = file.readline(longest + 1)
        except OSError as error:
            raise RunFileError(path, number, f"it cannot be read ({error})") from error
        if not data:
            return
        if len(data) > longest:
            raise RunFileError(path, number, f"it is longer than {longest:,} bytes; no line of a file of runs is")
        yield Line(number, offset, data)
        offset += len(data)
        number += 1


def read_index(file: BinaryIO, path: str) -> FileIndex:
    """The index of a whole file.

    Raises:
        RunFileError: If it is not a file of runs, has a newer format, or was truncated or edited. The message names the
            line.
    """
    _check_header(file, path)
    scan = _Scan(path)
    for line in lines_of(file, path):
        scan.take(line)
    return scan.end()


def _check_header(file: BinaryIO, path: str) -> None:
    first = file.read(_LONGEST_HEADER)
    if first.startswith(_GZIP):
        raise RunFileError(path, 0, f"it is compressed; uncompress it first: gzip -d {path}")
    try:
        header = parse(first.partition(b"\n")[0])
    except ValueError:
        header = {}
    if header.get("format") != FORMAT:
        what = "it is empty" if not first else "this is not a file of runs"
        raise RunFileError(path, 1, f"{what}; `playhead export RUN -o FILE` writes one")
    if header.get("version") != VERSION:
        raise RunFileError(
            path,
            1,
            f"format version {header.get('version')!r:.20}, written by playhead {header.get('playhead')!r:.20}; this version "
            f"reads {VERSION}. Install a newer playhead",
        )


class _Scan:
    """Takes each line of a file in order."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._index = FileIndex()
        self._hash = hashlib.sha256()
        self._run: RunPlaces | None = None
        self._lines = self._records = 0
        self._whole = False

    def take(self, line: Line) -> None:
        if self._whole:
            self._fail(line, "it comes after the last line of the file, the one with the digest")
        if not line.data.endswith(b"\n"):
            self._cut(line.number)
        if (found := RECORD_LINE.match(line.data)) is not None:
            self._record(line, int(found[1]), int(found[2]))
        else:
            self._other(line)
        self._lines += 1
        self._hash.update(line.data)

    def end(self) -> FileIndex:
        if not self._whole:
            self._cut(self._lines + 1)
        return self._index

    def _fail(self, line: Line, what: str) -> NoReturn:
        raise RunFileError(self._path, line.number, what)

    def _cut(self, number: int) -> NoReturn:
        what = "the file ends here, without the line with the digest: it was cut short, or is still being written"
        raise RunFileError(self._path, number, what)

    def _other(self, line: Line) -> None:
        """A line that is not a record's, or was not written by playhead in this form."""
        try:
            held = parse(line.data)
            if "seq" in held:
                self._record(line, int(held["seq"]), int(held["epoch"]))
            elif "run" in held:
                self._begin(line, info_of_line(held))
        except (ValueError, KeyError, TypeError, OverflowError) as error:  # 1e400 is a float that no int can be
            self._fail(line, str(error) if isinstance(error, ValueError) else f"{error} is missing or malformed")
        if "definition" in held:
            self._index.definitions[str(held["definition"])] = line.offset, line.number
        elif "message" in held:
            self._message(line, held["message"])
        elif "sha256" in held:
            self._last(line, held)

    def _begin(self, line: Line, info: RunInfo) -> None:
        if info.run_id in self._index.runs:
            self._fail(line, f"run {info.run_id} begins again")
        self._ended(line)
        self._run = self._index.runs[info.run_id] = RunPlaces(info, line.number)

    def _ended(self, line: Line) -> None:
        """Check that the run before this line has as many records as its own line says."""
        run = self._run
        if run is not None and run.head != run.info.head:
            self._fail(
                line, f"run {run.info.run_id} has {run.info.head} records by line {run.line}, and {run.head} here"
            )

    def _of_run(self, line: Line, what: str) -> RunPlaces:
        if self._run is None:
            self._fail(line, f"a {what} before the line of its run")
        return self._run

    def _record(self, line: Line, seq: int, epoch: int) -> None:
        run = self._of_run(line, "record")
        if seq != run.head + 1:
            self._fail(line, f"record {seq} of run {run.info.run_id}, where {run.head + 1} must come")
        if not run.epoch <= epoch <= run.info.epoch:
            self._fail(line, f"record {seq} is of owner {epoch}, after {run.epoch} and of {run.info.epoch} in all")
        if run.head % EVERY == 0:
            run.offsets.append(line.offset)
            run.numbers.append(line.number)
        run.head, run.epoch = seq, epoch
        self._records += 1

    def _message(self, line: Line, number: Any) -> None:
        run = self._of_run(line, "message")
        if number != len(run.messages) + 1:
            self._fail(line, f"message {number!r:.20}, where {len(run.messages) + 1} must come")
        run.messages.append((line.offset, line.number))

    def _last(self, line: Line, held: dict[str, Any]) -> None:
        self._ended(line)
        told = (held.get("lines"), held.get("records"), held["sha256"])
        if told != (self._lines, self._records, self._hash.hexdigest()):
            self._fail(
                line,
                f"it tells of {told[0]} lines and {told[1]} records with the digest {str(told[2])[:12]}…; the file has "
                f"{self._lines} and {self._records} with {self._hash.hexdigest()[:12]}…: it was edited or damaged",
            )
        self._whole = True
