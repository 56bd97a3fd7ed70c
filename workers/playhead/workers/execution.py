"""One ownership of one run: read its log, go on from the last record, end it or hand it over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

import anyio

from playhead.runtime import Agent
from playhead.runtime.codec import encode_record
from playhead.runtime.control import Control, is_being_cancelled
from playhead.runtime.errors import FencedError, GapError, PlayheadError
from playhead.runtime.log import Answer, Batch, Claim, Code, Finish, Log, RunInfo
from playhead.runtime.log.base import RunStateName
from playhead.runtime.loop import Commit, Loop
from playhead.runtime.records import (
    TERMINAL_TYPES,
    Entry,
    MessageAdded,
    Record,
    RunCancelled,
    RunFailed,
    RunHandedOver,
    RunPaused,
    now_ms,
)
from playhead.runtime.state import RunState, fold, open_chunks
from playhead.workers.checkpoints import Place, Visit
from playhead.workers.commit import GroupCommit, persistently
from playhead.workers.leases import Lease
from playhead.workers.writer import RunWriter

__all__ = ["Execution", "read_all"]

logger = logging.getLogger(__name__)

_PAGE = 1000
_MAX_ERROR_CHARS = 10_000
_ASK_S = 1.0  # what a line of the log may wait for Redis


async def read_all(log: Log, run_id: str, *, head: int) -> list[Entry]:
    """Records 1 to `head` of a run.

    Raises:
        GapError: If one of them is missing.
    """
    entries: list[Entry] = []
    while len(entries) < head:
        page = await log.read(run_id, after=len(entries), limit=_PAGE)
        for entry in page:
            if entry.seq != len(entries) + 1:
                raise GapError(run_id, expected=len(entries) + 1, found=entry.seq)
            entries.append(entry)
        if not page:
            raise GapError(run_id, expected=len(entries) + 1, found=None)
    return entries


class Execution:
    """Runs one claimed run; made by the worker, one per claim.

    Attributes:
        control: Where signals for the run are delivered.
        scope: Cancel it to stop here and now: the run is handed over if it is still ours.
        handing_over: Set it to stop at the next boundary, where nothing begun is lost.
        outcome: `completed`, `failed`, `cancelled`, `paused`, `handed_over` or `fenced` once it has ended.
    """

    def __init__(
        self,
        claim: Claim,
        agent: Agent,
        *,
        log: Log,
        commit: GroupCommit,
        lease: Lease,
        worker: str,
        retention_ms: int,
        lease_ms: int,
        visit: Visit | None = None,
    ) -> None:
        self.claim = claim
        self.lease = lease
        self.control = Control()
        self.scope = anyio.CancelScope()
        self.handing_over = False
        self.outcome: str | None = None
        self._lost: FencedError | None = None
        self._signals_wait = claim.inbox > 0
        self._waited_at = 0  # the last record that was there when signals kept the run from ending
        self._agent = agent
        self._log = log
        self._commit = commit
        self._visit = visit
        self._worker = worker
        self._retention_ms = retention_ms
        self._lease_s = lease_ms / 1000  # what closing may take: after that another owner does the same
        self.writer: RunWriter = commit.writer(
            run_id=claim.run_id, token=claim.token, head=claim.head, limit=agent.max_record_bytes
        )
        lease.on_lost = self._lose
        self.control.begin = self._refuse_to_begin

    async def run(self) -> None:
        """Run it to its end, or until it is lost, handed over or stopped. Never raises but cancellation."""
        try:
            try:
                with self.scope:
                    await self._at(Place.CLAIMED)
                    await self._run()
            except FencedError as error:
                if not self._only_stopped:
                    raise
                logger.info("%s", error)
            if self.scope.cancel_called and self.outcome is None:
                await self._hand_over()
        except FencedError as error:
            self.outcome = "fenced"
            self._lost = error
        except PlayheadError as error:  # whoever looks next finds its lease run out
            self.outcome = "fenced"
            logger.error("run %s is given up, its log takes not even its end: %s", self.claim.run_id, error)

    @property
    def _only_stopped(self) -> bool:
        """It ends because it is told to, not because it is lost: it can be handed over."""
        return self.scope.cancel_called and self.lease.lost is None and not self.lease.expired

    def _refuse_to_begin(self) -> None:
        """See `Control.begin`; on any thread. A cancelled task that has not begun yet runs up to its first wait."""
        self.lease.refuse_if_lost()
        if self.scope.cancel_called:
            raise FencedError(f"run {self.claim.run_id}: its execution here is being stopped")

    async def _at(self, place: Place) -> None:
        if self._visit is not None:
            await self._visit(place, self.claim.run_id)

    def _lose(self, why: str) -> None:
        if self.outcome is None:
            self.writer.fence(why)
            self.scope.cancel()

    async def tell_why_lost(self) -> None:
        """If the run was lost, log what happened, what kept this worker from holding it, and who may go on with it."""
        if self._lost is None:
            return
        await self._at(Place.LOST)
        story = self.lease.story()
        owner = "any worker that serves its agent may have taken it over"
        with anyio.move_on_after(_ASK_S, shield=True), suppress(PlayheadError):
            owner = _owner(await self._log.info(self.claim.run_id), claim=self.claim)
        logger.warning(
            "%s%s. Stopped here behind record %d, nothing more is written or begun: %s",
            self._lost,
            f"; {story}" if story else "",
            self.writer.head,
            owner,
        )

    async def _run(self) -> None:
        stored: RunState | None = None
        try:
            again = True
            while again:
                again = False
                loop = await self._loop()
                async with aclosing(loop.records()) as items:
                    async for item in items:
                        if isinstance(item, Commit):
                            await self.writer.flush()
                            await self._at(Place.TOOLS_STORED)
                        elif isinstance(item, RunPaused):
                            await self._pause(item)
                        elif item.type in TERMINAL_TYPES:
                            again = await self._finish(item, loop.state)
                        else:
                            await self.writer.put(item)
                            stored = loop.state
                            if self.handing_over and isinstance(item, MessageAdded) and not loop.ending:
                                break
        except FencedError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise  # any other comes out of the agent's code, and would end this worker with all its runs
            # Ours or the agent's: the run ends with it, so that no tail waits for a run that nobody can go on with.
            logger.exception("run %s failed in the loop", self.claim.run_id)
            await self._finish(_failure(error), stored)
        if self.outcome is None:
            await self._hand_over()

    async def _loop(self) -> Loop:
        """The loop behind the last stored record: at first the claim; later only where signals kept a run from ending."""
        claim = self.claim
        await self.writer.flush()
        head = self.writer.head
        entries = await persistently(lambda: read_all(self._log, claim.run_id, head=head), "read")
        history = list(self._agent.messages)
        if claim.session is not None:
            session = claim.session
            history += await persistently(lambda: self._log.messages(session), "messages")
        if self._signals_wait:
            self.control.deliver(await persistently(lambda: self._log.inbox(claim.run_id), "inbox"))
        state = fold(entries, history=history)
        return Loop(
            self._agent.spec,
            run_id=claim.run_id,
            state=state,
            head=head,
            epoch=claim.epoch,
            control=self.control,
            partial=open_chunks(state, entries),
        )

    async def _finish(self, record: Record, state: RunState | None) -> bool:
        """End the run; True if it goes on instead, since signals have come that it must take in first.

        Once begun it is not cancelled: a drain that comes now would throw away what it carries.
        """
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._lease_s):
            return await self._write_end(record, state)
        raise FencedError(f"run {self.claim.run_id}: its end could not be stored within {self._lease_s:g} s")

    async def _write_end(self, record: Record, state: RunState | None) -> bool:
        rest, batch = await self._last_batch(record)
        await self._at(Place.FINISHING)
        end = Finish(
            batch,
            state=_state_after(record),
            session=self.claim.session,
            messages=state.added if state else (),
            retention_ms=self._retention_ms,
        )
        answer = await self._send(lambda batch: self._log.finish(replace(end, batch=batch)), batch, "finish")
        if answer.code is Code.WAITING:
            self._take_signals_in_first(rest)
            return True
        if not answer.stored:
            raise FencedError(f"run {self.claim.run_id}: finish answered {answer.code.name}")
        self.outcome = end.state
        await self._at(Place.FINISHED)
        return False

    async def _last_batch(self, record: Record) -> tuple[Batch, Batch]:
        """What is still to be stored, without and with the record that ends this ownership."""
        # Encoded before the rest is taken, which would be lost with an error; a message of the limit and metrics fit.
        data = encode_record(record, limit=2 * self._agent.max_record_bytes)
        rest = await self.writer.take_rest()
        return rest, replace(rest, records=[*rest.records, data])

    def _take_signals_in_first(self, rest: Batch) -> None:
        if self._waited_at == self.writer.last:  # they were given to the loop already, which had nothing to say to them
            raise PlayheadError(f"signals wait for run {self.claim.run_id} which cannot be taken in")
        self._waited_at = self.writer.last
        self._signals_wait = True
        self.writer.put_back(rest)

    async def _pause(self, record: RunPaused) -> None:
        """Set the run aside until somebody answers; bounded and not cancelled, as its end."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._lease_s):
            _, batch = await self._last_batch(record)
            open_ids = [interrupt["id"] for interrupt in record.interrupts]
            await self._at(Place.PAUSING)
            answer = await self._send(lambda batch: self._log.pause(batch, interrupts=open_ids), batch, "pause")
            if not answer.stored:
                raise FencedError(f"run {self.claim.run_id}: pause answered {answer.code.name}")
            self.outcome = "paused"
            await self._at(Place.PAUSED)
            return
        raise FencedError(f"run {self.claim.run_id}: its pause could not be stored within {self._lease_s:g} s")

    async def _hand_over(self) -> None:
        """Give the run back; shielded, since this is what closing means for an execution, and bounded."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._lease_s):
            _, batch = await self._last_batch(RunHandedOver(at=now_ms(), worker=self._worker))
            await self._at(Place.RELEASING)
            answer = await self._send(self._log.release, batch, "release")
            if not answer.stored:
                raise FencedError(f"run {self.claim.run_id}: release answered {answer.code.name}")
            self.outcome = "handed_over"
            await self._at(Place.RELEASED)

    async def _send(self, write: Callable[[Batch], Awaitable[Answer]], batch: Batch, what: str) -> Answer:
        """Send it until it is answered, with what a failover lost before it where that is kept."""
        sent = batch
        while True:
            answer = await self._commit.send([(self.writer, sent)], lambda batches: write(batches[0]), what)
            again = None
            if answer.code is Code.CONFLICT:
                again = await self._commit.rewound(self.writer, batch, head=answer.head)
            if again is None:
                return answer
            sent = again


def _owner(info: RunInfo | None, *, claim: Claim) -> str:
    if info is None:
        return "the run is gone from Redis"
    if info.ended:
        return f"the run is {info.state} (epoch {info.epoch})"
    if info.epoch != claim.epoch:
        return f"{info.worker or 'no worker'} owns it now (epoch {info.epoch})"
    return "any worker that serves its agent takes it over when its lease has run out"


def _failure(error: BaseException) -> RunFailed:
    """The record of an exception of the loop; always one that can be stored."""
    try:
        text = str(error)[:_MAX_ERROR_CHARS]
    except Exception:  # a broken __str__ must not end the worker
        text = "(its text cannot be shown)"
    return RunFailed(at=now_ms(), error_type=type(error).__name__, message=text, force_stop=True)


def _state_after(record: Record) -> RunStateName:
    if isinstance(record, RunFailed):
        return "failed"
    return "cancelled" if isinstance(record, RunCancelled) else "completed"
