"""`Run`: a handle on one run, for watching and controlling it from anywhere."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import anyio

from playhead.client.checks import check_answers, check_steer
from playhead.client.tail import OnPause, Tail, run_not_found
from playhead.runtime.codec import encode_record
from playhead.runtime.decide import CANCELLED_TEXT
from playhead.runtime.errors import GapError, RewindError, RunEndedError
from playhead.runtime.events import Cursor, Event, Place, Projection, parse_cursor
from playhead.runtime.interrupts import Interrupt
from playhead.runtime.log import RunInfo, Signal
from playhead.runtime.log.redis import RedisLog
from playhead.runtime.records import (
    ENDED_STATES,
    Entry,
    RunCancelled,
    RunPaused,
    RunStateName,
    SignalReceived,
    now_ms,
)
from playhead.runtime.result import AgentResult
from playhead.runtime.types import Prompt

__all__ = ["OpenTail", "Pause", "Run", "run_ended"]


class OpenTail(Protocol):
    """Makes a tail on a run."""

    def __call__(
        self,
        run_id: str,
        *,
        after: Cursor | Entry,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
    ) -> Tail: ...


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a run is paused.

    Attributes:
        cursor: Of its `run.paused` record: what the run does once it goes on is behind it.
        interrupts: The questions that are open.
    """

    cursor: str
    interrupts: tuple[Interrupt, ...]


def run_ended(run_id: str, state: RunStateName) -> RunEndedError:
    """The error for a run that takes nothing in any more."""
    return RunEndedError(
        f"run {run_id} has ended ({state}) and takes nothing in any more. Start another; with the session_id of this one "
        "it goes on from there."
    )


class Run:
    """One run of a fleet; `client.run(id)` makes it. Nothing here changes the run but `cancel`, `respond` and `steer`.

    Attributes:
        id: All that is needed to come back.
    """

    def __init__(self, run_id: str, *, log: RedisLog, open_tail: OpenTail, max_record_bytes: int) -> None:
        self.id = run_id
        self._max_record_bytes = max_record_bytes
        self._log = log
        self._open_tail = open_tail

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    async def records(self, *, after: Cursor = 0, wait_for_worker: float | None = None) -> AsyncGenerator[Entry, None]:
        """The records behind `after`, once each and in order, as they come; ends after the terminal one.

        Where the run is paused it waits on, and says so by a notice.

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
        self, *, after: Cursor | None = None, wait_for_worker: float | None = None, on_pause: OnPause = "end"
    ) -> AsyncGenerator[Event, None]:
        """The run's events behind a cursor, as they come; the same as if the reader had never left.

        Where the run is paused the last event is a `result` with stop reason `interrupt`. Answer it, here or elsewhere,
        and go on behind its cursor; if it is answered before the next event is asked for, this goes on by itself.

        Args:
            after: An event's or an entry's `cursor`, or a record's number (the whole record was seen): of that, it
                cannot be noticed that another record has taken it since. None for the beginning.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
            on_pause: `end` where the run waits for answers, or `wait` on and say so by a notice.

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
            tail = self._open_tail(self.id, after=seen, wait_for_worker=wait_for_worker, on_pause=on_pause)
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

    async def result(self, *, on_pause: OnPause = "end") -> AgentResult:
        """Wait for the run's end; its result. Where the run is paused, what it came to: stop reason `interrupt`.

        Args:
            on_pause: `end` where the run waits for answers, or `wait` on and say so by a notice.

        Raises:
            RunFailedError: The run failed; the subclass has the name of the worker's exception.
            GapError, RunNotFoundError, ForeignRecordError, RedisAuthError: As their texts say.
        """
        while True:
            try:
                result = await self._result(on_pause)
            except RewindError:  # only what the run ends with counts, not what it ended with before
                continue
            if result is not None:  # else paused here in between, and answered since
                return result

    async def _result(self, on_pause: OnPause) -> AgentResult | None:
        info = await self.info()
        said = info.ended or info.state == "paused"  # by the last record, which is there already
        projection = Projection(self.id)
        result: AgentResult | None = None
        place = info.head - 1 if said else f"{info.head}-{info.epoch}"
        async with aclosing(self._open_tail(self.id, after=place, on_pause=on_pause).entries()) as entries:
            async for entry in entries:
                for event in projection.feed(entry):
                    result = event.get("result", result)
        if projection.error is not None:
            raise projection.error
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

    async def pause(self) -> Pause | None:
        """What the run waits for, if it is paused now.

        Raises:
            RunNotFoundError: There is no such run.
        """
        info = await self.info()
        if info.state != "paused":
            return None
        for entry in await self._log.read_back(self.id, before=info.head + 1, limit=1):
            if isinstance(entry.record, RunPaused):
                return Pause(entry.cursor, tuple(Interrupt(one) for one in entry.record.interrupts))
        return None  # it has gone on since

    async def cancel(self, *, signal_id: str | None = None) -> RunStateName:
        """Ask the run to stop. In line or paused, it ends at once; running, its worker takes the signal in soon.

        The cancel is in force when `signal.received` stands in the log. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `running` while the worker winds it up, or the state it has already ended in.

        Raises:
            RunNotFoundError: There is no such run.
        """
        signal = Signal(signal_id=signal_id or uuid4().hex, kind="cancel")
        return await self._send(signal, at_once=[encode_record(record) for record in _cancelled_in_line(signal)])

    async def respond(self, answers: Mapping[str, Any], *, signal_id: str | None = None) -> RunStateName:
        """Answer questions the run waits for, by interrupt id. The first to answer a question wins.

        The run goes on when all its questions are answered. An answer is in force when `signal.received` stands in the
        log, see `received`. Sent twice with one `signal_id` it counts once.

        Returns:
            The run's state: `queued` for a worker that goes on.

        Raises:
            InterruptNotOpenError: Not asked, or answered already; nothing was changed.
            RunEndedError: The run has ended; nothing was changed.
            ValueError: There is no answer in it.
            EncodingError: An answer is not plain data.
            RecordTooLargeError: The answers are over the limit.
            RunNotFoundError: There is no such run.
        """
        check_answers(answers, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "respond", dict(answers)))

    async def steer(self, prompt: Prompt, *, signal_id: str | None = None) -> RunStateName:
        """Say something to the run while it runs: a user message, taken in before its next model call.

        A run that was about to end goes on with it. A paused run stays paused, and hears it when it goes on. It is in
        force when `signal.received` stands in the log, see `received`. Sent twice with one `signal_id` it counts once.

        Args:
            prompt: Text or content blocks.

        Returns:
            The run's state.

        Raises:
            RunEndedError: The run has ended; nothing was changed.
            ValueError: It says nothing, or is neither text nor content blocks.
            EncodingError: It is not plain data.
            RecordTooLargeError: It is over the limit.
            RunNotFoundError: There is no such run.
        """
        check_steer(prompt, limit=self._max_record_bytes)
        return await self._tell(Signal(signal_id or uuid4().hex, "steer", prompt))

    async def received(self, signal_id: str, *, after: Cursor = 0) -> Entry:
        """Wait until the signal is in force: for its `signal.received` behind the cursor.

        Raises:
            RunEndedError: The run has ended without it.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, RedisAuthError: As their texts say.
        """
        async with aclosing(self.records(after=after)) as entries:
            async for entry in entries:
                if isinstance(entry.record, SignalReceived) and entry.record.signal_id == signal_id:
                    return entry
        raise RunEndedError(f"run {self.id} has ended, and has not taken the signal {signal_id} in")

    async def _tell(self, signal: Signal) -> RunStateName:
        """Send what only a run that has not ended can take."""
        state = await self._send(signal)
        if state not in ENDED_STATES:
            return state
        with suppress(RunEndedError):  # sent again because an answer was lost: it may have been taken in before the end
            await self.received(signal.signal_id)
            return state
        raise run_ended(self.id, state)

    async def _send(self, signal: Signal, *, at_once: Sequence[bytes] = ()) -> RunStateName:
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
