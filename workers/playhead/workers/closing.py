"""Ends one ownership of a run: writes the outcome of its loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import anyio

from playhead.runtime.core.codec import encode_record, limit_of
from playhead.runtime.core.errors import FencedError, PlayheadError
from playhead.runtime.core.failures import failure
from playhead.runtime.core.records import Record, RunHandedOver, RunPaused, RunStateName, now_ms
from playhead.runtime.core.state import RunState
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, RunEnd, WriteResult, WriteStatus
from playhead.workers.appends.group_commit import GroupCommit
from playhead.workers.appends.run_writer import RunWriter
from playhead.workers.checkpoints import Checkpoint, Visit
from playhead.workers.options import WorkerOptions

__all__ = ["Closing", "Ended", "Left", "Paused", "Progress", "Raised"]


@dataclass(frozen=True, slots=True)
class Ended:
    """The loop reached the run's end."""

    record: Record


@dataclass(frozen=True, slots=True)
class Paused:
    """The loop waits for responses."""

    record: RunPaused


@dataclass(frozen=True, slots=True)
class Left:
    """The loop was stopped before the run's end, or had nothing to do.

    `rest`: the seconds that the run must still wait before its model is called again.
    """

    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """The loop raised, or could not be made."""

    error: BaseException


Progress = Ended | Paused | Left | Raised
"""The outcome of a loop. A lost run is a `FencedError` instead, because any write may find it out."""


class Closing:
    """Writes the end of one ownership of a run, after the records that are still queued, in one call.

    Once begun, it is not cancelled, because a drain would then discard the records that it holds. It continues as long
    as the run is held, even while the server refuses writes, and at most a lease longer, because after that another
    owner writes the end. A run that is asked to stop gets one lease.

    Attributes:
        written: The last terminal record that was written, or was to be.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        log: Log,
        commit: GroupCommit,
        writer: RunWriter,
        worker: str,
        options: WorkerOptions,
        visit: Visit | None,
    ) -> None:
        self._claim = claim
        self._log = log
        self._commit = commit
        self._writer = writer
        self._worker = worker
        self._retention = partial(options.retention_of, claim.agent)
        self._lease_s = options.lease_ms / 1000
        self._visit = visit
        self.written: Record | None = None
        self._waited_at = 0  # the last record when waiting signals last prevented the run's end

    async def write(self, progress: Progress, state: RunState | None) -> str | None:
        """Write the outcome of the loop; `state` is the fold of the records given to the writer.

        Returns:
            The execution's outcome; None if nothing is stored, because the loop must first receive waiting signals.

        Raises:
            FencedError: If the run is lost, perhaps because this took too long.
            PlayheadError: If the log accepts not even a failure.
        """
        with self._while_held():
            try:
                return await self._write(progress, state)
            except FencedError:
                raise
            except Exception as error:
                if not isinstance(progress, Ended | Paused):
                    raise
                return await self._write(Raised(error), state)
        self._writer.ownership.lose(f"its end could not be stored within {self._lease_s:g} s")
        self._writer.ownership.check()
        return None

    @contextmanager
    def _while_held(self) -> Generator[None]:
        """Shield the block from cancellation, until a lease after the run was last held."""
        loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
        with anyio.move_on_after(self._lease_s, shield=True) as scope:

            def extend() -> None:
                if self._writer.ownership.standing in ("held", "refused"):
                    scope.deadline = loop.time() + self._lease_s
                timers[:] = [loop.call_later(self._lease_s / 10, extend)]

            extend()
            try:
                yield
            finally:
                timers[0].cancel()

    async def _write(self, progress: Progress, state: RunState | None) -> str | None:
        match progress:
            case Ended(record):
                return await self._finish(record, state)
            case Raised(error):  # an error of playhead or of the agent: the run cannot go on, so it fails
                return await self._finish(failure(error), state)
            case Paused(record):
                return await self._pause(record)
            case Left(rest):
                return await self._hand_over(rest)

    async def _finish(self, record: Record, state: RunState | None) -> str | None:
        rest, batch = await self._last_batch(record)
        self.written = record
        await self._at(Checkpoint.FINISHING)
        state_name = cast("RunStateName", record.type.removeprefix("run."))
        end = RunEnd(
            batch,
            state=state_name,
            session=self._claim.session,
            messages=state.added if state else (),
            agent_state=state.agent_state if state else None,
            retention_ms=self._retention(state_name),
        )
        result = await self._send(lambda batch: self._log.finish(replace(end, batch=batch)), batch, rest, "finish")
        if result.status is WriteStatus.WAITING:
            self._put_back(rest)
            return None
        await self._at(Checkpoint.FINISHED)
        return end.state

    async def _pause(self, record: RunPaused) -> str:
        """Pause the run until its questions have responses."""
        rest, batch = await self._last_batch(record)
        open_ids = [interrupt["id"] for interrupt in record.interrupts]
        await self._at(Checkpoint.PAUSING)
        await self._send(lambda batch: self._log.pause(batch, interrupts=open_ids), batch, rest, "pause")
        await self._at(Checkpoint.PAUSED)
        return "paused"

    async def _hand_over(self, delay: float) -> str:
        """Queue the run again for another worker, which gets it after `delay` seconds."""
        rest, batch = await self._last_batch(RunHandedOver(at=now_ms(), worker=self._worker, delay=delay))
        release = partial(self._log.release, delay_ms=math.ceil(delay * 1000))
        await self._at(Checkpoint.RELEASING)
        await self._send(release, batch, rest, "release")
        await self._at(Checkpoint.RELEASED)
        return "postponed" if delay else "handed_over"

    async def _last_batch(self, record: Record) -> tuple[Batch, Batch]:
        """The records still to be stored, without and with the record that ends this ownership."""
        # Encoded before the rest is taken, because an error would lose the rest.
        data = encode_record(record, limit=limit_of(record, 2 * self._writer.limit))
        rest = await self._writer.take_rest()
        return rest, replace(rest, records=[*rest.records, data])

    async def _send(
        self, write: Callable[[Batch], Awaitable[WriteResult]], batch: Batch, rest: Batch, what: str
    ) -> WriteResult:
        """Send the end of this ownership until the log returns a result; `rest` is `batch` without the record that ends it.

        Raises:
            FencedError: If it was refused because the run is lost.
            PlayheadError: If the log rejects this end for good. The rest is queued again, to be stored without it.
        """

        async def write_one(batches: list[Batch]) -> list[WriteResult]:
            return [await write(batches[0])]

        try:
            (result,) = await self._commit.store([(self._writer, batch)], write_one, what)
        except PlayheadError:
            self._writer.put_back(rest)
            raise
        if not (result.stored or result.status is WriteStatus.WAITING):
            self._writer.ownership.lose(f"{what} returned {result.status.name}")
            self._writer.ownership.check()
        return result

    def _put_back(self, rest: Batch) -> None:
        self._writer.put_back(rest)
        if self._waited_at == self._writer.last:  # the loop received the signals, and wrote no record for them
            raise PlayheadError(f"signals wait for run {self._claim.run_id}, and its loop does not receive them")
        self._waited_at = self._writer.last

    async def _at(self, place: Checkpoint) -> None:
        if self._visit is not None:
            await self._visit(place, self._claim.run_id)
