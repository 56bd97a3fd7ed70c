"""The records of a run, in order, with a place: read page by page, looked at ahead of the place, taken one by one."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import anyio

from playhead.runtime.core.errors import GapError
from playhead.runtime.core.records import Record, UnknownRecord
from playhead.runtime.core.segments import Stored, record_of
from playhead.runtime.replay.recording import Recording

__all__ = ["Spot", "Tape"]

_PAGE: Final = 500


class Spot(NamedTuple):
    """A record on the tape."""

    seq: int
    epoch: int
    stored: Stored

    @property
    def record(self) -> Record:
        """The record, typed."""
        return record_of(self.stored)


class Tape:
    """The records of a recording after the place, which begins before record 1.

    Records of types that this version does not know are left out: the fold ignores them.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._ahead: deque[Spot] = deque()
        self._read = 0
        self._moved: anyio.Event | None = None

    @property
    def near(self) -> Spot | None:
        """The next record, if it has been read already."""
        return self._ahead[0] if self._ahead else None

    async def peek(self, ahead: int = 0) -> Spot | None:
        """The record `ahead` records after the next one; None if the recording ends before it.

        Raises:
            GapError: If a record is missing.
            LogUnavailableError, ForeignRecordError: As the log raises them.
        """
        while len(self._ahead) <= ahead:
            if not await self._read_page():
                return None
        return self._ahead[ahead]

    def take(self) -> Spot:
        """Take the next record, which `peek` has returned: the place is after it."""
        spot = self._ahead.popleft()
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        return spot

    async def moved(self) -> None:
        """Wait until the next record has been taken."""
        if self._moved is None:
            self._moved = anyio.Event()
        await self._moved.wait()

    async def _read_page(self) -> bool:
        page = await self._recording.segments(after=self._read, limit=_PAGE)
        for first, epoch, values in page:
            if first != self._read + 1:
                raise GapError(self._recording.run_id, expected=self._read + 1, found=first)
            self._read += len(values)
            self._ahead.extend(
                Spot(seq, epoch, value)
                for seq, value in enumerate(values, first)
                if type(value) is list or not isinstance(value, UnknownRecord)
            )
        return bool(page)
