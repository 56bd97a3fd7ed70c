"""A log that is read as files: each read of a run exports it, and reads the file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import EncodedEntry, RunInfo

__all__ = ["ReadFromFiles"]


class ReadFromFiles(MemoryLog):
    """What is written goes into memory; runs and their records are read from a file. The rest is not about one run, or, as
    the definitions, is in a file only if a record names it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._numbers = count(1)
        self._memory = MemoryLog()
        self._memory.__dict__ = self.__dict__  # the same log, read as it is

    @asynccontextmanager
    async def file_of(self, *run_ids: str) -> AsyncGenerator[LogReader]:
        """A file of these runs; the log itself if one of them does not exist."""
        if not run_ids or None in [await self._memory.info(run_id) for run_id in run_ids]:
            yield self._memory
            return
        path = self._folder / f"{next(self._numbers)}.jsonl"
        try:
            await export_runs(self._memory, run_ids, path)
        except RunNotFoundError:  # its retention has ended
            yield self._memory
            return
        with FileLog(path) as file:
            yield file
        path.unlink()

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        async with self.file_of(run_id) as file:
            return await file.read(run_id, after=after, limit=limit)

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        async with self.file_of(run_id) as file:
            return await file.read_segments(run_id, after=after, limit=limit)

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        async with self.file_of(run_id) as file:
            return await file.read_encoded(run_id, after=after, limit=limit)

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        async with self.file_of(run_id) as file:
            return await file.read_back(run_id, before=before, limit=limit)

    async def info(self, run_id: str) -> RunInfo | None:
        async with self.file_of(run_id) as file:
            return await file.info(run_id)
