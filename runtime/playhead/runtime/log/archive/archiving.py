"""Archives the runs of a log that have ended. Nothing is removed: the retention of a run removes it from Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from playhead.runtime.core.errors import ArchiveError, LogUnavailableError, PlayheadError
from playhead.runtime.log.archive.archive import Archive, entry_name
from playhead.runtime.log.interface import ListedLog
from playhead.runtime.log.values import RunInfo

__all__ = ["Archived", "Archiving", "archive_runs"]


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
                ended = {entry_name(info): info for info in page if info.ended}
                days = {_day(name) for name in ended.keys() - self._known} - looked_at
                self._known |= await self._archive.entries_of(sorted(days))
                looked_at |= days
                seen |= ended.keys()
                for name in ended.keys() - self._known:
                    if (done := await self.archive(ended[name].run_id)) is not None:
                        yield done
        self._known &= seen

    async def archive(self, run_id: str) -> Archived | None:
        """Archive one run; None if it is archived, has not ended, or has been removed. Raises as `archive_runs`."""
        info = await self._log.info(run_id)
        if info is None or not info.ended or (name := entry_name(info)) in self._known | self._under_way:
            return None
        self._under_way.add(name)
        try:
            if await self._archive.put(self._log, run_id) is None:
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
