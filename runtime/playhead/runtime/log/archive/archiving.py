"""Archives the runs of a log that have ended. Nothing is removed: the retention of a run removes it from Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import anyio

from playhead.runtime.core.errors import ArchiveError, LogUnavailableError, PlayheadError
from playhead.runtime.log.archive.archive import Archive, entry_name
from playhead.runtime.log.interface import ListedLog
from playhead.runtime.log.values import RunInfo

__all__ = ["Archived", "Archiving", "archive_runs"]

_AT_ONCE: Final = 4


class Archived(NamedTuple):
    """A run that was archived, or could not be.

    Attributes:
        info: The run as it ended.
        error: Why it could not be archived, if its records are damaged; None if it was.
    """

    info: RunInfo
    error: PlayheadError | None = None


async def archive_runs(log: ListedLog, archive: Archive) -> AsyncGenerator[Archived, None]:
    """Archive every ended run of `log` that the archive does not have; yields each.

    Several may do so at once: all of them write the same.

    Raises:
        ArchiveError: The archive cannot be reached; the runs before are archived.
        LogUnavailableError: The log cannot be.
    """
    async with aclosing(Archiving(log, archive).missing()) as runs:
        async for one in runs:
            yield one


class Archiving:
    """Archives the runs of one log again and again, also by several tasks.

    What it once found in the archive it does not look for again.
    """

    def __init__(self, log: ListedLog, archive: Archive) -> None:
        self._log = log
        self._archive = archive
        self._known: set[str] = set()  # names of entries in the archive, of runs that the log has
        self._under_way: set[str] = set()

    async def missing(self) -> AsyncGenerator[Archived, None]:
        """Archive the ended runs that the archive does not have; yields each. Raises as `archive_runs`."""
        seen: set[str] = set()
        looked_at: set[str] = set()
        async with aclosing(self._log.run_pages()) as pages:
            async for page in pages:
                ended = {entry_name(info.run_id, info.created): info for info in page if info.ended}
                days = {_day(name) for name in ended.keys() - self._known} - looked_at
                self._known |= await self._archive.entries_of(sorted(days))
                looked_at |= days
                seen |= ended.keys()
                ids = [info.run_id for name, info in ended.items() if name not in self._known]
                for start in range(0, len(ids), _AT_ONCE):
                    done, refused = await self._several(ids[start : start + _AT_ONCE])
                    for one in done:
                        yield one
                    if refused:
                        raise refused[0]
        self._known &= seen

    def forget(self) -> None:
        """Forget what it found in the archive, which grows with each run that `archive` adds."""
        self._known.clear()

    async def _several(self, run_ids: Sequence[str]) -> tuple[list[Archived], list[PlayheadError]]:
        """Archive these runs at once, because most of the time is spent in waiting for the archive."""
        done: list[Archived] = []
        refused: list[PlayheadError] = []

        async def one(run_id: str) -> None:
            try:
                found = await self.archive(run_id)
            except PlayheadError as error:
                refused.append(error)
            else:
                done.extend([] if found is None else [found])

        async with anyio.create_task_group() as tasks:
            for run_id in run_ids:
                tasks.start_soon(one, run_id)
        return done, refused

    async def archive(self, run_id: str) -> Archived | None:
        """Archive one run; None if it is archived, has not ended, or has been removed. Raises as `archive_runs`."""
        info = await self._log.info(run_id)
        if info is None or not info.ended:
            return None
        name = entry_name(info.run_id, info.created)
        if name in self._known or name in self._under_way:
            return None
        self._under_way.add(name)
        try:
            if not await self._archive.put(self._log, info):
                return None
        except (ArchiveError, LogUnavailableError):
            raise
        except PlayheadError as error:  # of its records: it must not hold up the others
            return Archived(info, error)
        finally:
            self._under_way.discard(name)
        self._known.add(name)
        return Archived(info)


def _day(name: str) -> str:
    return name.rpartition("/")[0]
