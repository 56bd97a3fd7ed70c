"""`Archive`: a file for each run that has ended, and an index of small entries by which they are listed.

    runs/<run id>/<created>.jsonl.zst          the run, as `export` writes it
    index/<day>/<created>-<run id>.json        what a list shows of it

The entry is written after the file, and a run is archived when its entry exists. So a process that is killed at any place
leaves either an archived run or one that the next process archives again, under the same names.
"""

from __future__ import annotations

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, unquote

import anyio
from anyio import to_thread

from playhead.runtime.core.arguments import check_text
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import ArchiveError, RunNotFoundError
from playhead.runtime.log.archive.stores import store_at
from playhead.runtime.log.file.compression import can_compress, compressed
from playhead.runtime.log.file.export import Exported, export_lines
from playhead.runtime.log.file.lines import held_of_info, info_of_line
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, page_of, place_by_time
from playhead.runtime.log.values import RunInfo

__all__ = ["Archive", "entry_name"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_FORMAT: Final = "playhead-archived-run"
_VERSION: Final = 1
_OPEN: Final = 16  # files: opening one reads it whole
_SESSIONS: Final = 1000
_DAY_MS: Final = 24 * 3600 * 1000
_PAGE: Final = 100  # records: what a worker does beside is held up for a millisecond or two
_ENTRIES_AT_ONCE: Final = 100
_LAST_MS: Final = 10**13 - 1  # in the year 2286: an imported run may have any time

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_ENTRY: Final = re.compile(r"\d{13}-.+\.json")
_FILE: Final = re.compile(r"(\d{13})\.jsonl(\.zst)?")


def _named(created: int) -> int:
    """The time of a run's submission as it stands in names."""
    return min(max(created, 0), _LAST_MS)


def _quoted(run_id: str) -> str:
    """A run id as part of a name: of two dots it would be another folder, and a dot at the beginning would hide it."""
    plain = quote(run_id, safe="")
    return f"%2E{plain[1:]}" if plain.startswith(".") else plain


def entry_name(run_id: str, created: int) -> str:
    """The name of a run's entry: the names of a day are in the order in which the runs were submitted."""
    day = datetime.fromtimestamp(_named(created) / 1000, UTC).date()
    return f"index/{day}/{_named(created):013d}-{_quoted(run_id)}.json"


def _may_have(day: str, filters: RunFilter, after: Place | None) -> bool:
    """Whether a run that fits, and comes after a place, may have been submitted on the day of this folder."""
    began = datetime.fromisoformat(f"{day.rpartition('/')[2]}T00:00:00+00:00").timestamp() * 1000
    too_late = filters.until is not None and began >= filters.until
    too_early = filters.since is not None and began + _DAY_MS <= filters.since
    return not (too_late or too_early or (after is not None and began * 1000 > after.position))


class Archive:
    """The runs in a folder, or at a URL; use it in one event loop at a time. Nothing is read or written until it is asked for.

    Several processes may write to one archive at once. It is for the runs of one prefix.

    Args:
        place: A folder, or a URL that fsspec knows: that needs the extra `archive`.

    Raises:
        ArchiveError: The extra is not installed, or the place is not a folder. Every method raises it if the archive cannot
            be reached.
        ValueError, TypeError: The place is empty, or is not a text or a path.
    """

    def __init__(self, place: str | Path) -> None:
        if not isinstance(cast("object", place), Path):
            check_text("archive", place)
        self.place: str | Path = place
        self._store = store_at(place)
        self._open: OrderedDict[str, FileLog] = OrderedDict()
        self._opening: dict[str, anyio.Lock] = {}
        self._last_of_session: OrderedDict[str, RunInfo] = OrderedDict()

    @property
    def where(self) -> str:
        """The place, without passwords, for messages."""
        return self._store.where

    def close(self) -> None:
        """Close the files that are open. They are opened again when they are asked for."""
        while self._open:
            self._open.popitem()[1].close()

    # ------------------------------------------------------------------ writing

    async def put(self, log: LogReader, info: RunInfo) -> bool:
        """Archive a run of `log` that has ended, of which `info` tells; the run in the log is not changed.

        Cancelled, it does not wait for the archive: what a thread still writes there is whole or unnamed.

        Returns:
            Whether the log had it still.

        Raises:
            ArchiveError: It cannot be written.
            GapError, ForeignRecordError, LogUnavailableError: As their texts say; the archive does not have the run.
        """
        name = f"runs/{_quoted(info.run_id)}/{_named(info.created):013d}.jsonl{'.zst' if can_compress() else ''}"
        try:
            with NamedTemporaryFile("wb", prefix="playhead-archive-") as file:
                with compressed(cast("Any", file)) as content:
                    async for block in export_lines(log, [info.run_id], Exported(), page=_PAGE):
                        content.write(block)
                file.flush()
                await to_thread.run_sync(self._write, name, file.name, info, abandon_on_cancel=True)
        except RunNotFoundError:
            return False
        except OSError as error:
            raise ArchiveError(
                self.where, f"the temporary file of a run cannot be written ({error.strerror})"
            ) from error
        return True

    def _write(self, name: str, source: str, info: RunInfo) -> None:
        """Write the file of a run, and then its entry."""
        self._store.put(name, source)
        entry = {"format": _FORMAT, "version": _VERSION, "file": name, **held_of_info(info)}
        self._store.write(entry_name(info.run_id, info.created), f"{json.dumps(entry)}\n".encode())

    # ------------------------------------------------------------------ the index

    async def entries_of(self, days: Sequence[str]) -> set[str]:
        """The names of the entries of these days (`index/2026-11-27`)."""
        return {name for day in days for name in await self._names(day, _ENTRY)}

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int, after: Place | None = None) -> RunPage:
        """As `Log.runs`: the runs as they were when they ended. Reads their entries, and no file of a run.

        Without a filter it reads as many entries as it gives; with one, those of the days that may have fitting runs. A
        damaged entry is left out, and named by a warning in the log.
        """
        found: dict[str, ListedRun] = {}
        for day in sorted(await self._names("index", _DAY), reverse=True):
            if len(found) > limit or not _may_have(day, filters, after):
                continue
            names = sorted(await self._names(day, _ENTRY), reverse=True)
            while names and len(found) <= limit:
                size = min(_ENTRIES_AT_ONCE, limit + 1 - len(found))
                batch, names = names[:size], names[size:]
                for name, data in zip(batch, await self._in_thread(self._store.read, batch), strict=True):
                    if (info := self._listed(name, data)) is not None and filters.fits(info):
                        place = place_by_time(info)
                        if after is None or place < after:
                            found.setdefault(info.run_id, ListedRun(place, info))
        return page_of(found.values(), filters, limit=limit, after=after)

    async def find_ids(self, beginning: str) -> list[str]:
        """The ids that begin so. Reads the names of all runs."""
        ids = map(unquote, await self._in_thread(self._store.names, "runs"))
        return sorted(run_id for run_id in ids if run_id.startswith(beginning))

    def _listed(self, name: str, data: bytes | None) -> RunInfo | None:
        try:
            return None if data is None else _info_of(data)
        except ValueError as error:
            run_id = unquote(name.rpartition("/")[2].partition("-")[2].removesuffix(".json"))
            logger.warning(
                "%s/%s: %s; delete it: then `playhead archive` writes it again, if run %s is still in Redis",
                *(self.where, name, error, run_id),
            )
            return None

    # ------------------------------------------------------------------ one run

    async def info(self, run_id: str) -> RunInfo | None:
        """The run as it was when it ended; None if the archive does not have it."""
        name = await self._newest(run_id)
        if name is None:
            return None
        info = await self._info(run_id, name)
        if info is not None and info.session is not None:
            self._note(info.session, info)
        return info

    async def _info(self, run_id: str, name: str) -> RunInfo | None:
        """By its entry; by its file if that has none, because a process was killed, or it is damaged."""
        created = int(name.rpartition("/")[2].partition(".")[0])
        entry = entry_name(run_id, created)
        (data,) = await self._in_thread(self._store.read, [entry])
        if (info := self._listed(entry, data)) is not None:
            return info
        file = await self.file_of(run_id)
        return None if file is None else await file.info(run_id)

    def _note(self, session: str, info: RunInfo) -> None:
        """The last run of a session began from all messages that earlier ones did: so one for each session suffices."""
        known = self._last_of_session.pop(session, info)
        self._last_of_session[session] = max(known, info, key=lambda one: one.created)
        if len(self._last_of_session) > _SESSIONS:
            self._last_of_session.popitem(last=False)

    async def messages(self, session: str) -> list[Message]:
        """The messages from which the last run began, of those of this session that `info` was asked for."""
        last = self._last_of_session.get(session)
        file = None if last is None else await self.file_of(last.run_id)
        return [] if file is None else await file.messages(session)

    async def file_of(self, run_id: str) -> FileLog | None:
        """The file of a run; None if the archive does not have it. It may be closed when this is called again.

        Raises:
            RunFileError: It is not whole.
        """
        lock = self._opening.setdefault(run_id, anyio.Lock())
        try:
            async with lock:
                if run_id not in self._open:
                    name = await self._newest(run_id)
                    if name is None:
                        return None
                    self._open[run_id] = await self._in_thread(self._read_file, name)
                    if len(self._open) > _OPEN:
                        self._open.popitem(last=False)[1].close()
        finally:
            if not lock.statistics().tasks_waiting:
                self._opening.pop(run_id, None)
        self._open.move_to_end(run_id)
        return self._open[run_id]

    def _read_file(self, name: str) -> FileLog:
        return FileLog(f"{self.where.rstrip('/')}/{name}", file=self._store.open(name))

    async def _newest(self, run_id: str) -> str | None:
        """The name of the run's file. There are two if another run was submitted under the same id much later."""
        return max(await self._names(f"runs/{_quoted(run_id)}", _FILE), default=None)

    async def _names(self, folder: str, form: re.Pattern[str]) -> list[str]:
        """The names in a folder that an archive writes, with the folder."""
        found = await self._in_thread(self._store.names, folder)
        return [f"{folder}/{name}" for name in found if form.fullmatch(name)]

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await to_thread.run_sync(call, *arguments)


def _info_of(data: bytes) -> RunInfo:
    """The run of an entry. Raises ValueError if it is none, or of a newer version."""
    try:
        held: Any = json.loads(data)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(held, dict) or cast("dict[str, Any]", held).get("format") != _FORMAT:
        raise ValueError("it is not an entry of an archive")
    entry = cast("dict[str, Any]", held)
    if entry.get("version") != _VERSION:
        raise ValueError(f"it is of version {entry.get('version')!r:.20}, and this playhead reads {_VERSION}")
    try:
        return info_of_line(entry)
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
