"""Runs in files: `open_log` reads them as a client reads the runs of a fleet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from playhead.client.reader import RunReader
from playhead.client.tails.file_tail import file_tail
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.values import RunInfo

__all__ = ["RunFile", "open_log"]


def open_log(path: str | Path) -> RunFile:
    """Open a file that `playhead export` or `run.export` wrote, or one of an archive. Needs no Redis and no event loop.

    The file is read once from beginning to end, so that an incomplete one is refused; nothing is kept in memory.

    Raises:
        RunFileError: If it cannot be read, is not a file of runs, has a newer format, or was truncated or edited.
    """
    return RunFile(FileLog(path))


@names_keywords
class RunFile:
    """An open file of runs; `open_log` makes it. Close it, or use it as a context manager.

    Attributes:
        path: The file.
        reader: The file as a log, for callers that need more than its runs.
    """

    def __init__(self, log: FileLog) -> None:
        self.path: str = log.path
        self.reader: FileLog = log

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Its runs cannot be read from then on."""
        self.reader.close()

    @property
    def run_ids(self) -> list[str]:
        """The ids of its runs, in the order of the file."""
        return self.reader.run_ids

    async def runs(self) -> list[RunInfo]:
        """Its runs as they were when they were exported, newest first."""
        return await self.reader.runs(limit=max(1, len(self.run_ids)))

    def run(self, run_id: str | None = None) -> RunReader:
        """A run of the file, with all reading methods of a client's run: events, records, result, requests, replay.

        A run that had not ended when it was exported ends with `FileEndsError` after its last record.

        Args:
            run_id: The run; None if the file has only one.

        Raises:
            RunNotFoundError: If the file has no such run.
            ValueError: If no run is named and the file has several.
        """
        found = self.reader.id_of(run_id, how=f": {self.path}#RUN")
        return RunReader(found, log=self.reader, open_tail=partial(file_tail, self.reader))
