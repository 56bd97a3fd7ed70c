"""`ArchivedLog`: a log and its archive, read as one."""

from __future__ import annotations

from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, merged
from playhead.runtime.log.values import EncodedEntry, LeaseInfo, RunInfo, WorkerInfo

__all__ = ["ArchivedLog"]


class ArchivedLog:
    """A `LogReader` that reads a run in the log, and in the archive once the log does not have it any longer.

    The records and their numbers are the same in both, so a reader does not notice when the run moves. Every method may
    also raise `ArchiveError`; one about an archived run, `RunFileError`.
    """

    def __init__(self, log: LogReader, archive: Archive) -> None:
        self._log = log
        self._archive = archive

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`."""
        if found := await self._log.read(run_id, after=after, limit=limit):
            return found
        file = await self._moved(run_id)
        return await file.read(run_id, after=after, limit=limit) if file else []

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """See `Log.read_segments`."""
        if found := await self._log.read_segments(run_id, after=after, limit=limit):
            return found
        file = await self._moved(run_id)
        return await file.read_segments(run_id, after=after, limit=limit) if file else []

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        """See `Log.read_encoded`."""
        if found := await self._log.read_encoded(run_id, after=after, limit=limit):
            return found
        file = await self._moved(run_id)
        return await file.read_encoded(run_id, after=after, limit=limit) if file else []

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        if found := await self._log.read_back(run_id, before=before, limit=limit):
            return found
        file = await self._moved(run_id)
        return await file.read_back(run_id, before=before, limit=limit) if file else []

    async def _moved(self, run_id: str) -> FileLog | None:
        """The file of a run that the log does not have; None while it has it, or if the archive does not."""
        return await self._archive.file_of(run_id) if await self._log.info(run_id) is None else None

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`."""
        found = await self._log.info(run_id)
        return await self._archive.info(run_id) if found is None else found

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        """See `Log.runs`; of both. A run that both have is at its place in the log."""
        found: list[ListedRun] = []
        seen: set[str] = set()
        while True:
            kept = await self._log.runs(filters, limit=limit, after=after)
            archived = await self._archive.runs(filters, limit=limit, after=after)
            both = merged([kept, archived], limit=limit)
            ours = {info.run_id for info in kept}
            for one in both.listed:
                run_id = one.info.run_id
                if run_id not in seen and (run_id in ours or await self._log.info(run_id) is None):
                    seen.add(run_id)
                    found.append(one)
            if len(found) >= limit or not both.more:
                return RunPage(found[:limit], more=both.more or len(found) > limit)
            after = both.places[-1]

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """See `Log.find_ids`; of the archive only if the log has none, because its names are many."""
        return await self._log.find_ids(beginning, limit=limit) or (await self._archive.find_ids(beginning))[:limit]

    async def messages(self, session: str) -> list[Message]:
        """See `Log.messages`: those of the log, or those from which an archived run began if they are more."""
        return max(await self._log.messages(session), await self._archive.messages(session), key=len)

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        """See `Log.history`; those of the archive if the session of the log was trimmed or deleted since."""
        found = await self._log.history(run_id, began)
        if len(found) >= began.count or (file := await self._archive.file_of(run_id)) is None:
            return found
        return max(found, await file.history(run_id, began), key=len)

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        """See `Log.definition`."""
        stored = await self.stored_definition(run_id, digest)
        return None if stored is None else AgentDefinition.of(stored.data)

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        """See `Log.stored_definition`."""
        found = await self._log.stored_definition(run_id, digest)
        if found is not None:
            return found
        file = await self._moved(run_id)
        return await file.stored_definition(run_id, digest) if file else None

    async def lease(self, run_id: str) -> LeaseInfo | None:
        """See `Log.lease`; an archived run has no owner."""
        return await self._log.lease(run_id)

    async def holder(self, session: str) -> str | None:
        """See `Log.holder`; an archived run has ended."""
        return await self._log.holder(session)

    async def workers(self) -> list[WorkerInfo]:
        """See `Log.workers`."""
        return await self._log.workers()
