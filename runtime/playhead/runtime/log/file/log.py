"""`FileLog`: the runs of a file, read as those of any other log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, cast

from playhead.runtime.core.checks import check_count
from playhead.runtime.core.codec import stored_of, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import ForeignRecordError, RunFileError, RunNotFoundError
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment, segments
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.file.compression import uncompressed
from playhead.runtime.log.file.index import EVERY, Line, RunPlaces, lines_of, read_index
from playhead.runtime.log.file.lines import data_of, parse
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, page_of, place_by_time
from playhead.runtime.log.values import EncodedEntry, LeaseInfo, RunInfo, WorkerInfo

__all__ = ["FileLog"]


class FileLog:
    """The runs of a file that `export_runs` wrote, as a `LogReader`. It reads as it is asked, and keeps no record.

    Opening it reads the whole file once, so that a file which is not whole is refused. Its methods do not let other tasks
    run: a page of a local file takes less than a millisecond. One that is compressed with zstd is uncompressed into a
    temporary file first.

    Args:
        path: The file.
        file: Its content, if it is open already; it is closed with this, also by an error. `path` then only names it.

    Raises:
        RunFileError: If it cannot be read, is not a file of runs, has a newer format, or was truncated or edited.
    """

    def __init__(self, path: str | Path, *, file: BinaryIO | None = None) -> None:
        self.path: str = str(path)
        self._file = self._opened() if file is None else file
        self._next: tuple[str, int, int, int] | None = None  # run, record, first byte, line: where the last page ended
        try:
            self._file = uncompressed(self._file, self.path)
            self._index = read_index(self._file, self.path)
        except OSError as error:  # a folder is opened, and cannot be read
            self._file.close()
            raise RunFileError(self.path, 0, f"it cannot be read ({error.strerror})") from error
        except BaseException:
            self._file.close()
            raise

    def _opened(self) -> BinaryIO:
        try:
            return Path(self.path).open("rb")
        except OSError as error:
            raise RunFileError(self.path, 0, f"it cannot be opened ({error.strerror})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing can be read from then on."""
        self._file.close()

    @property
    def run_ids(self) -> list[str]:
        """The ids of the runs, in the order of the file."""
        return list(self._index.runs)

    def id_of(self, run_id: str | None, *, how: str) -> str:
        """The run of this id, or the only one for None; `how` ends the text that asks for an id.

        Raises:
            RunNotFoundError: If the file does not have the run.
            ValueError: If no run is named and the file has several.
        """
        known = self.run_ids
        if run_id is None and len(known) != 1:
            raise ValueError(f"{self.path} has {len(known)} runs: {', '.join(known)}. Name one of them{how}")
        if run_id is not None and run_id not in known:
            raise RunNotFoundError(f"no run {run_id!r} in {self.path}; it has {', '.join(known)}")
        return known[0] if run_id is None else run_id

    # ------------------------------------------------------------------ records

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`. Raises `RunFileError` if the file has been changed since it was opened."""
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """See `Log.read_segments`."""
        check_count("after", after)
        check_count("limit", limit, least=1)
        places: list[tuple[int, int]] = []
        values: list[Any] = []
        for line, held in self._records(run_id, after + 1, after + limit):
            places.append((held["seq"], held["epoch"]))
            try:
                value = held["record"] if "record" in held else unpack(data_of(held, "record"))
                values.append(stored_of(value, line.data))
            except ForeignRecordError as error:
                raise ForeignRecordError(f"{self.path}, line {line.number}: {error}") from error
            except ValueError as error:
                self._fail(line, str(error))
        return segments(places, values)

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        """See `Log.read_encoded`."""
        check_count("after", after)
        check_count("limit", limit, least=1)
        return [
            EncodedEntry(held["seq"], held["epoch"], self._data(line, held, "record"))
            for line, held in self._records(run_id, after + 1, after + limit)
        ]

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        check_count("before", before)
        check_count("limit", limit, least=1)
        places = self._index.runs.get(run_id)
        last = min(before - 1, places.head) if places else 0
        first = max(1, last - limit + 1)
        return (await self.read(run_id, after=first - 1, limit=last - first + 1))[::-1] if last else []

    def _records(self, run_id: str, first: int, last: int) -> Iterator[tuple[Line, dict[str, Any]]]:
        """The lines of the records from `first` to `last`, as far as there are any, and what they hold."""
        places = self._index.runs.get(run_id)
        last = min(last, places.head) if places else 0
        if places is None or first > last:
            return
        seq, offset, number = self._near(run_id, places, first)
        for line in lines_of(self._file, self.path, offset=offset, number=number):
            held = self._held(line) if seq >= first or b'{"seq"' not in line.data[:8] else {"seq": seq}
            if "seq" not in held:
                continue  # a definition or a message
            if held["seq"] != seq or (seq >= first and type(held.get("epoch")) is not int):
                self._fail(
                    line, f"record {seq} of run {run_id} was here: the file has been changed since it was opened"
                )
            seq += 1
            if seq > first:
                yield line, held
            if seq > last:
                self._next = run_id, seq, line.offset + len(line.data), line.number + 1
                return
        raise RunFileError(self.path, number, "the file has been cut since it was opened")

    def _near(self, run_id: str, places: RunPlaces, first: int) -> tuple[int, int, int]:
        """A record at or before `first`, with the first byte and the number of its line."""
        if self._next is not None and self._next[:2] == (run_id, first):
            return self._next[1:]
        block = (first - 1) // EVERY
        return block * EVERY + 1, places.offsets[block], places.numbers[block]

    def _line(self, offset: int, number: int) -> Line:
        return next(lines_of(self._file, self.path, offset=offset, number=number), Line(number, offset, b""))

    def _held(self, line: Line) -> dict[str, Any]:
        try:
            return parse(line.data)
        except ValueError as error:
            self._fail(line, str(error))

    def _data(self, line: Line, held: dict[str, Any], name: str) -> bytes:
        try:
            return data_of(held, name)
        except ValueError as error:
            self._fail(line, str(error))

    def _fail(self, line: Line, what: str) -> NoReturn:
        raise RunFileError(self.path, line.number, what)

    # ------------------------------------------------------------------ everything else

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`: the state in which the run was exported."""
        places = self._index.runs.get(run_id)
        return places.info if places else None

    async def lease(self, run_id: str) -> LeaseInfo | None:
        """See `Log.lease`: a run in a file has no owner."""
        return None

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        """See `Log.runs`."""
        check_count("limit", limit, least=1)
        infos = [places.info for places in self._index.runs.values()]
        listed = [ListedRun(place_by_time(info), info) for info in infos]
        return page_of(listed, filters, limit=limit, after=after)

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """See `Log.find_ids`."""
        check_count("limit", limit, least=1)
        return sorted(run_id for run_id in self._index.runs if run_id.startswith(beginning))[:limit]

    async def messages(self, session: str) -> list[Message]:
        """See `Log.messages`: those that the runs of this session in the file began from."""
        known = [run.messages for run in self._index.runs.values() if run.info.session == session]
        return self._messages(max(known, key=len, default=[]))

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        """See `Log.history`."""
        return (await self.messages_of(run_id))[: began.count] if run_id in self._index.runs else []

    async def messages_of(self, run_id: str) -> list[Message]:
        """The messages that the run began from."""
        return self._messages(self._index.runs[run_id].messages)

    def _messages(self, places: Sequence[tuple[int, int]]) -> list[Message]:
        found: list[Message] = []
        for line in (self._line(offset, number) for offset, number in places):
            message = unpack(self._data(line, self._held(line), "value"))
            if not isinstance(message, dict):
                self._fail(line, f"a message that is a {type(message).__name__}")
            found.append(cast("Message", message))
        return found

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        """See `Log.definition`."""
        stored = await self.stored_definition(run_id, digest)
        if stored is None:
            return None
        try:
            return AgentDefinition.of(stored.data)
        except ForeignRecordError as error:
            raise RunFileError(self.path, self._index.definitions[digest][1], str(error)) from error

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        """See `Log.stored_definition`."""
        place = self._index.definitions.get(digest) if run_id in self._index.runs else None
        if place is None:
            return None
        line = self._line(*place)
        return StoredDefinition(digest, self._data(line, self._held(line), "value"))

    async def holder(self, session: str) -> str | None:
        """See `Log.holder`: no run in a file goes on."""
        return None

    async def workers(self) -> list[WorkerInfo]:
        """See `Log.workers`: a file has none."""
        return []
