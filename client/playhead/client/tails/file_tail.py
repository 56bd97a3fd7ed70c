"""A tail of a run in a file, which ends where the file ends."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from playhead.client.tails.notice import OnNotice, run_not_found
from playhead.client.tails.state import PAGE, OnPause
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.errors import FileEndsError, GapError, RewindError
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.interface import LogReader

__all__ = ["FileTail", "file_tail"]


class FileTail:
    """Reads one run as `Tail` does, from a log that does not grow.

    Args:
        log: The log with the run's records.
        after: The last entry seen, or a cursor; the whole record was seen.
        on_pause: Whether a run that was paused when it was exported ends there, or has no end in the file.
    """

    def __init__(self, run_id: str, *, log: LogReader, after: Cursor | Entry, on_pause: OnPause = "wait") -> None:
        self.run_id: str = run_id
        self._log = log
        self._place = parse_cursor(after.cursor if isinstance(after, Entry) else after)
        self._seq = self._place.seq
        self._on_pause = on_pause

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def next(self) -> list[Segment] | None:
        """The next records; None after the last.

        Raises:
            FileEndsError: If the run had not ended when it was exported, and all its records were read.
            GapError, RewindError: If the cursor does not belong to this run.
            RunNotFoundError: If the file does not have the run.
            RunFileError: If the file has been changed since it was opened.
        """
        if self._seq == self._place.seq:
            await self.settle()
        page = await self._log.read_segments(self.run_id, after=self._seq, limit=PAGE)
        if page:
            self._seq = page[-1].last
            return page
        info = await self._log.info(self.run_id)
        if info is None:
            raise run_not_found(self.run_id)
        if not info.ended and not (info.state == "paused" and self._on_pause == "end"):
            raise FileEndsError(self.run_id, expected=info.head + 1, state=info.state)
        return None

    async def settle(self) -> None:
        """Check that the cursor belongs to this run. Raises as `next`."""
        seq, _, epoch = self._place
        if seq == 0:
            return
        found = await self._log.read_segments(self.run_id, after=seq - 1, limit=1)
        if not found:
            if await self._log.info(self.run_id) is None:
                raise run_not_found(self.run_id)
            raise GapError(self.run_id, expected=seq, found=None)
        if epoch not in (None, found[0].epoch):
            raise RewindError(self.run_id, expected=seq, found=seq)


def file_tail(
    log: LogReader,
    run_id: str,
    *,
    after: Cursor | Entry,
    wait_for_worker: float | None = None,
    on_pause: OnPause = "wait",
    on_notice: OnNotice | None = None,
) -> FileTail:
    """A tail of a run of a log that does not grow: it waits for nothing, so it has no notices."""
    del wait_for_worker, on_notice
    return FileTail(run_id, log=log, after=after, on_pause=on_pause)
