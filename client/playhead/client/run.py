"""`Run`: a handle on one run, for watching and controlling it from anywhere."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol
from uuid import uuid4

import anyio

from playhead.client.tail import Tail, run_not_found
from playhead.runtime.codec import encode_record
from playhead.runtime.decide import CANCELLED_TEXT
from playhead.runtime.errors import GapError, RewindError
from playhead.runtime.events import Cursor, Event, Place, Projection, parse_cursor
from playhead.runtime.log import RunInfo, Signal
from playhead.runtime.log.base import RunStateName
from playhead.runtime.log.redis import RedisLog
from playhead.runtime.records import (
    Entry,
    RunCancelled,
    SignalReceived,
    now_ms,
)
from playhead.runtime.result import AgentResult

__all__ = ["OpenTail", "Run"]


class OpenTail(Protocol):
    """Makes a tail on a run."""

    def __call__(self, run_id: str, *, after: Cursor | Entry, wait_for_worker: float | None = None) -> Tail: ...


class Run:
    """One run of a fleet; `client.run(id)` makes it. Nothing here stops the run but `cancel`.

    Attributes:
        id: All that is needed to come back.
    """

    def __init__(self, run_id: str, *, log: RedisLog, open_tail: OpenTail) -> None:
        self.id = run_id
        self._log = log
        self._open_tail = open_tail

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    async def records(self, *, after: Cursor = 0, wait_for_worker: float | None = None) -> AsyncGenerator[Entry, None]:
        """The records behind `after`, once each and in order, as they come; ends after the terminal one.

        Args:
            after: An entry's `cursor`, or a record's number: of that, it cannot be noticed that another record has
                taken it since.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.

        Raises:
            ValueError: `after` is not a cursor.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, NoWorkerError, RedisAuthError: As their texts
                say.
        """
        tail = self._open_tail(self.id, after=after, wait_for_worker=wait_for_worker)
        async with aclosing(tail.entries()) as entries:
            async for entry in entries:
                yield entry

    async def stream_async(
        self, *, after: Cursor | None = None, wait_for_worker: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """The run's events behind a cursor, as they come; the same as if the reader had never left.

        Args:
            after: An event's or an entry's `cursor`, or a record's number (the whole record was seen): of that, it
                cannot be noticed that another record has taken it since. None for the beginning.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.

        Raises:
            RunFailedError: The run failed: a subclass with the name of the worker's exception, after its last event.
            ValueError: `after` is not a cursor.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, NoWorkerError, RedisAuthError: As their texts
                say.
        """
        projection = Projection(self.id, after=after)
        seen: Cursor | Entry = 0
        for seen in await self._prelude(parse_cursor(after)):
            for event in projection.feed(seen):
                yield event
        if not projection.ended:
            tail = self._open_tail(self.id, after=seen, wait_for_worker=wait_for_worker)
            async with aclosing(tail.entries()) as entries:
                async for entry in entries:
                    for event in projection.feed(entry):
                        yield event
        if projection.error is not None:
            raise projection.error

    async def _prelude(self, place: Place) -> list[Entry]:
        """Record 1 and what stands from the start of the model call around `place` up to it: the projection's state."""
        if place.seq == 0:
            return []
        first = await self._log.read(self.id, limit=1)
        if not first:
            if await self._log.info(self.id) is None:
                raise run_not_found(self.id)
            raise GapError(self.id, expected=1, found=None)
        back: list[Entry] = []
        before = place.seq + 1
        while before > 1 and not (back and Projection.may_begin_at(back[-1].record)):
            page = await self._log.read_back(self.id, before=before)
            if not back and place.epoch is not None and (not page or page[0][:2] != (place.seq, place.epoch)):
                await self._open_tail(self.id, after=f"{place.seq}-{place.epoch}").settle()
                continue
            if not page or page[0].seq != before - 1:
                raise GapError(self.id, expected=before - 1, found=page[0].seq if page else None)
            for entry in page:
                back.append(entry)
                if Projection.may_begin_at(entry.record):
                    break
            before = back[-1].seq
        back.reverse()
        return back if back[0].seq == 1 else [*first, *back]

    async def result(self) -> AgentResult:
        """Wait for the run's end; its result.

        Raises:
            RunFailedError: The run failed; the subclass has the name of the worker's exception.
            GapError, RunNotFoundError, ForeignRecordError, RedisAuthError: As their texts say.
        """
        while True:
            try:
                return await self._result()
            except RewindError:  # only what the run ends with counts, not what it ended with before
                continue

    async def _result(self) -> AgentResult:
        info = await self.info()
        place = f"{info.head}-{info.epoch}"
        projection = Projection(self.id)
        result: AgentResult | None = None
        async with aclosing(self.records(after=info.head - 1 if info.ended else place)) as entries:
            async for entry in entries:
                for event in projection.feed(entry):
                    result = event.get("result", result)
        if projection.error is not None:
            raise projection.error
        assert result is not None, "a terminal record gives a result or an error"
        return result

    async def info(self) -> RunInfo:
        """The run's state now.

        Raises:
            RunNotFoundError: There is no such run.
        """
        info = await self._log.info(self.id)
        if info is None:
            raise run_not_found(self.id)
        return info

    async def cancel(self, *, signal_id: str | None = None) -> RunStateName:
        """Ask the run to stop. In line, it ends at once; running, its worker takes the signal in within a second.

        The cancel is in force when `signal.received` stands in the log. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `running` while the worker winds it up, or the state it has already ended in.

        Raises:
            RunNotFoundError: There is no such run.
        """
        signal = Signal(signal_id=signal_id or uuid4().hex, kind="cancel")
        at_once = [encode_record(record) for record in _cancelled_in_line(signal)]
        state = await self._log.signal(self.id, signal, at_once=at_once)
        if state is None:
            raise run_not_found(self.id)
        return state

    async def replay(self, *, speed: float | None = 1.0) -> AsyncGenerator[Event, None]:
        """The run's events again on its recorded clock; a running run is followed live once caught up.

        Args:
            speed: 2.0 is twice as fast; None is as fast as can be.

        Raises:
            ValueError: `speed` is not positive.
            Exception: As `stream_async`.
        """
        projection = Projection(self.id)
        async with aclosing(self.replay_records(speed=speed)) as entries:
            async for entry in entries:
                for event in projection.feed(entry):
                    yield event
        if projection.error is not None:
            raise projection.error

    async def replay_records(self, *, speed: float | None = 1.0) -> AsyncGenerator[Entry, None]:
        """As `replay`, the records."""
        if speed is not None and speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed:g}")
        began, first_at = time.monotonic(), None
        async with aclosing(self.records()) as entries:
            async for entry in entries:
                first_at = entry.record.at if first_at is None else first_at
                if speed is not None:
                    due = began + (entry.record.at - first_at) / 1000 / speed
                    await anyio.sleep(max(0.0, due - time.monotonic()))
                yield entry


def _cancelled_in_line(signal: Signal) -> tuple[SignalReceived, RunCancelled]:
    """What ends a run that no worker holds: the signal's acknowledgement and the end, in one write."""
    message = {"role": "assistant", "content": [{"text": CANCELLED_TEXT}]}
    at = now_ms()
    return (
        SignalReceived(at=at, signal_id=signal.signal_id, kind=signal.kind),
        RunCancelled(at=at, result={"stop_reason": "cancelled", "message": message, "metrics": {}, "state": {}}),
    )
