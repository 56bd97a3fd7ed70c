"""Plays a run on its recorded clock, with a tail that returns records when they are due."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import anyio

from playhead.client.tails.interface import AnyTail, OpenTail
from playhead.client.tails.notice import OnNotice
from playhead.client.tails.state import OnPause
from playhead.runtime.core.arguments import check_number, check_whole
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment, Stored

__all__ = ["Clock", "PlayedTail", "check_playback", "played"]


class Clock:
    """The recorded clock, played faster or slower, with long silences cut. Pure: it computes times and never waits.

    The clocks of two owners may differ. A record that is dated before an earlier one is due at once, and no time is
    counted twice.

    Args:
        speed: 2.0 is twice as fast.
        max_gap: The longest silence between two records, in seconds of the recorded clock; None to cut none.
    """

    def __init__(self, *, speed: float, max_gap: float | None = None) -> None:
        self._speed = speed
        self._max_gap_ms = None if max_gap is None else max_gap * 1000
        self._latest: int | None = None
        self._due_s = 0.0

    def dues(self, ats: Iterable[int]) -> list[float]:
        """When the next records are due, in seconds after the first record of all; `ats` are their `at`, in order."""
        found: list[float] = []
        for at in ats:
            gap = max(0, at - self._latest) if self._latest is not None else 0
            self._latest = at if self._latest is None else max(self._latest, at)
            self._due_s += (gap if self._max_gap_ms is None else min(gap, self._max_gap_ms)) / 1000 / self._speed
            found.append(self._due_s)
        return found


def check_playback(*, speed: float | None, after: Cursor | None, until: int | None, max_gap: float | None) -> None:
    """Refuse values with which nothing can be played.

    Raises:
        ValueError: If `speed` is not above 0, `max_gap` is below 0, `after` is not a cursor, or `until` is not after it.
        TypeError: If a value has the wrong type.
    """
    check_number("speed", speed, above=0.0, optional=True)
    check_number("max_gap", max_gap, optional=True)
    check_whole("until", until, least=1, optional=True)
    seen = parse_cursor(after).seq
    if until is not None and until <= seen:
        raise ValueError(f"until must be a record after {seen}, where the replay begins, not {until}")


def _at(value: Stored) -> int:
    return value[1] if isinstance(value, list) else value.at


def _up_to(page: list[Segment], last: int) -> list[Segment]:
    """The records of a page up to the number `last`."""
    return [
        one if one.last <= last else Segment(one.first, one.epoch, one.values[: last - one.first + 1])
        for one in page
        if one.first <= last
    ]


class PlayedTail:
    """Returns the records of another tail when they are due.

    Args:
        tail: The tail that reads them.
        clock: When they are due; None for at once.
        until: The number of the last record; None for the end of the run.
    """

    def __init__(self, tail: AnyTail, *, clock: Clock | None, until: int | None) -> None:
        self._tail = tail
        self._clock = clock
        self._until = until
        self._reached = False
        self._began: float | None = None
        self._waiting: list[tuple[Segment, list[float]]] = []

    async def __aenter__(self) -> Self:
        await self._tail.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tail.__aexit__(kind, error, trace)

    async def settle(self) -> None:
        """Like `Tail.settle`."""
        await self._tail.settle()

    async def next(self) -> list[Segment] | None:
        """The records that are due now, at least one; None after the last one. Raises as `Tail.next`."""
        if not self._waiting:
            page = None if self._reached else await self._tail.next()
            if page is None:
                return None
            if self._until is not None:
                page = _up_to(page, self._until)
                self._reached = page[-1].last == self._until
            if self._clock is None:
                return page
            clock = self._clock
            self._waiting = [(segment, clock.dues(map(_at, segment.values))) for segment in page]
        return [await self._due()]

    async def _due(self) -> Segment:
        """Wait for the next record, and return it with those of its segment that are also due then."""
        segment, dues = self._waiting[0]
        await anyio.sleep(max(0.0, dues[0] - self._elapsed()))
        count = bisect_right(dues, self._elapsed(), lo=1)
        first, epoch, values = segment
        if count == len(values):
            del self._waiting[0]
        else:
            self._waiting[0] = Segment(first + count, epoch, values[count:]), dues[count:]
        return Segment(first, epoch, values[:count])

    def _elapsed(self) -> float:
        """Seconds since the first record was due."""
        self._began = time.monotonic() if self._began is None else self._began
        return time.monotonic() - self._began


def played(open_tail: OpenTail, *, speed: float | None, until: int | None, max_gap: float | None) -> OpenTail:
    """Make a function that opens tails like `open_tail`, but whose records are returned when they are due.

    Args:
        open_tail: Makes the tails that read the log.
        speed: 2.0 is twice as fast; None is as fast as the log can be read.
        until: The number of the last record; None for the end of the run.
        max_gap: The longest silence between two records, in seconds of the recorded clock; None to cut none.
    """
    if speed is None and until is None:
        return open_tail  # the tail itself is the fastest

    def open_played(
        run_id: str,
        *,
        after: Cursor | Entry,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        on_notice: OnNotice | None = None,
    ) -> PlayedTail:
        tail = open_tail(run_id, after=after, wait_for_worker=wait_for_worker, on_pause=on_pause, on_notice=on_notice)
        clock = None if speed is None else Clock(speed=speed, max_gap=max_gap)
        return PlayedTail(tail, clock=clock, until=until)

    return open_played
