"""One ownership of one run: reads its log, continues after the last record, and ends the run or hands it over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

import anyio

from playhead.runtime.agent.serving import Served, target_of_run
from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.errors import AgentFactoryError, FencedError, PlayheadError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.made import MadeAgent
from playhead.runtime.core.records import TERMINAL_TYPES, Entry, MessageAdded, Record, RunPaused
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.state import RunState
from playhead.runtime.log.interface import Log
from playhead.runtime.log.reading import read_all
from playhead.runtime.log.values import Claim, RunInfo
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening, Runner, Target
from playhead.runtime.loop.spec import Flush
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from playhead.runtime.tools.children import ChildRuns
from playhead.workers.appends.group_commit import GroupCommit
from playhead.workers.appends.run_writer import RunWriter
from playhead.workers.checkpoints import Checkpoint, Visit
from playhead.workers.closing import Closing, Ended, Left, Paused, Progress, Raised
from playhead.workers.leases.leases import Lease
from playhead.workers.mailbox import Mailbox
from playhead.workers.options import WorkerOptions
from playhead.workers.resend import retry_until_answered
from playhead.workers.run_lines import RunLines
from playhead.workers.standstill import Standstill

__all__ = ["HELD_WAIT_S", "Execution"]

logger: logging.Logger = logging.getLogger(__name__)

HELD_WAIT_S: Final = 5.0
"""The longest wait for a model in which a run keeps its place in its worker; in a longer one it waits in the queue."""

_ASK_S = 1.0  # how long a log line may wait for Redis


class Execution:
    """Runs one claimed run. The worker makes one for each claim.

    Attributes:
        lease: The run's ownership; `stop` and `leave` end the execution.
        control: Where signals for the run are delivered.
        outcome: `completed`, `failed`, `cancelled`, `paused`, `handed_over`, `postponed` or `fenced` once it has ended.
    """

    def __init__(
        self,
        claim: Claim,
        source: Served,
        *,
        log: Log,
        commit: GroupCommit,
        lease: Lease,
        mailbox: Mailbox,
        worker: str,
        options: WorkerOptions,
        got_on: Callable[[], None],
        visit: Visit | None = None,
        children: ChildRuns | None = None,
    ) -> None:
        self.claim = claim
        self.lease = lease
        self.control: Control = Control()
        self.outcome: str | None = None
        self.writer: RunWriter = commit.writer(
            ownership=lease, token=claim.token, head=claim.head, limit=source.max_record_bytes
        )
        self._scope = anyio.CancelScope()
        self._fenced: FencedError | None = None
        self._given: RunState | None = None  # the fold of what was given to the writer
        self._raised: BaseException | None = None  # what the runner, or a model that ended it, raised
        self._standstill: Standstill | None = None  # until the run gets on
        self._options = options
        self._got_on = got_on
        self._source = source
        self._target: Target | None = None  # until it is made
        self._lines = RunLines(claim)
        self._telemetry = RunTelemetry(claim.run_id, agent=claim.agent, epoch=claim.epoch)
        self._log, self._mailbox = log, mailbox
        self._visit, self._children = visit, children
        self._closing = Closing(
            claim, log=log, commit=commit, writer=self.writer, worker=worker, options=options, visit=visit
        )
        lease.listen(self._scope.cancel)
        mailbox.open(claim.run_id, self.control)

    async def run(self) -> None:
        """Run it until it ends, or is lost, handed over or stopped. Raises nothing but cancellation."""
        if self.claim.inbox:
            self._mailbox.signals_wait(self.claim.run_id)
        self._lines.begin()
        try:
            with self._scope:
                await self._at(Checkpoint.CLAIMED)
                while self.outcome is None:
                    self.outcome = await self._closing.write(await self._progress(), self._given)
                    if self.outcome is None:
                        self._mailbox.signals_wait(self.claim.run_id)
            if self.outcome is None:  # it was stopped or lost; the closing tells which
                self.outcome = await self._closing.write(Left(), self._given)
        except FencedError as error:
            self.outcome, self._fenced = "fenced", error
        except PlayheadError as error:  # when its lease has expired, another worker gets it
            self.outcome = "fenced"
            logger.error("run %s is given up, because its end could not be stored: %s", self.claim.run_id, error)
        finally:
            self._mailbox.close(self.claim.run_id, self.control)
            self._telemetry.end(self.outcome or "stopped", self._closing.written, raised=self._raised)
            self._lines.end(self.outcome or "stopped", self._closing.written, state=self._given, raised=self._raised)

    async def tell_why_lost(self) -> None:
        """If the run was lost, log why, and which worker may continue it."""
        if self._fenced is None:
            return
        await self._at(Checkpoint.LOST)
        reason = self.lease.explain()
        owner = "any worker that serves its agent may have taken it over"
        with anyio.move_on_after(_ASK_S, shield=True), suppress(PlayheadError):
            owner = _owner(await self._log.info(self.claim.run_id), claim=self.claim)
        logger.warning(
            "%s%s. Stopped here after record %d, nothing more is written or begun: %s",
            self._fenced,
            f"; {reason}" if reason else "",
            self.writer.head,
            owner,
        )

    async def _at(self, place: Checkpoint) -> None:
        if self._visit is not None:
            await self._visit(place, self.claim.run_id)

    async def _progress(self) -> Progress:
        """Continue after the last stored record until the run has an outcome here.

        Raises:
            FencedError: If the run is lost.
        """
        try:
            self.lease.check()
            entries = await self._entries()
            self._telemetry.begin(entries)
            if (end := self._verdict(entries)) is not None:  # before any of the agent's code runs
                return Ended(end)
            return await self._follow(await self._runner(entries))
        except FencedError:  # also raised for an ownership that is stopping, which may still be handed over
            self.lease.check(closing=True)
            return Left()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise  # others come from the agent's code, and must not end this worker
            self._raised = (error.__cause__ or error) if isinstance(error, AgentFactoryError) else error
            return Raised(error)

    async def _entries(self) -> list[Entry]:
        """The records up to the last stored one: the claim, or a later one if signals prevented the run's end."""
        await self.writer.flush()
        head = self.writer.head
        return await retry_until_answered(lambda: read_all(self._log, self.claim.run_id, head=head), "read")

    def _verdict(self, entries: Sequence[Entry]) -> Record | None:
        """The end of the run, if its owners end one after the other."""
        if not self.claim.idle_owners or entries[-1].seq != self.claim.head:
            return None
        state = fold(entries)
        self._standstill = Standstill(state, entries)
        verdict = self._standstill.verdict(self.claim, crash_limit=self._options.crash_limit)
        if verdict is not None:  # the session gets what the log has, as from any other end that an owner writes
            self._given = state
        return verdict

    async def _runner(self, entries: Sequence[Entry]) -> Runner:
        """Make what continues the run after these records, the stored ones."""
        claim = self.claim
        target = self._target = self._target or await self._made(entries)
        said = StoredMessages()
        if (session := claim.session) is not None:
            said = await retry_until_answered(lambda: self._log.stored_messages(session), "messages")
        await self._mailbox.delivered(claim.run_id)
        return target.open(
            Opening(
                run_id=claim.run_id,
                epoch=claim.epoch,
                entries=entries,
                head=self.writer.head,
                said=said,
                control=self.control,
                ownership=self.lease,
                driver=asyncio.current_task(),
                longest_wait=HELD_WAIT_S,
                telemetry=self._telemetry,
                children=self._children,
            )
        )

    async def _made(self, entries: Sequence[Entry]) -> Target:
        """What runs the run for this owner; what a factory made is stored before anything of it is used.

        Raises:
            AgentFactoryError, OverrideRefusedError: As `target_of_run`.
        """
        target, record, former = await target_of_run(self._source, self.claim.run_id, entries)
        self.writer.limit = target.max_record_bytes
        if record is not None:
            await self.writer.put(record)
            await self.writer.flush()
        if record is not None and former is not None:
            told = MadeAgent.of(record).definition
            self._lines.changed(self.writer.head, former, told)
        return target

    async def _follow(self, runner: Runner) -> Progress:
        """Write what the runner yields, until it has an outcome."""
        async with aclosing(runner.records()) as items:
            async for item in items:
                if isinstance(item, list):
                    if not self.writer.offer(item):
                        await self.writer.put(item)
                    self._given = runner.state
                elif (became := await self._take(item, runner)) is not None:
                    return became
        return Left(rest=runner.rest)

    async def _take(self, item: Record | Encoded | Flush, runner: Runner) -> Progress | None:
        if isinstance(item, Flush):
            await self.writer.flush()
            await self._at(Checkpoint.TOOLS_STORED)
            return None
        item = self._telemetry.take(item, runner.state)
        if isinstance(item, Encoded):  # of a tool: neither an end nor a boundary
            await self.writer.put(item)
            await self._written(item.record, runner)
            return None
        if isinstance(item, RunPaused):
            return Paused(item)
        if item.type not in TERMINAL_TYPES:
            await self.writer.put(item)
        await self._written(item, runner)
        if item.type in TERMINAL_TYPES:
            self._raised = runner.error
            return Ended(item)
        at_boundary = self.lease.leaving and isinstance(item, MessageAdded) and not runner.ending
        return Left() if at_boundary else None

    async def _written(self, record: Record, runner: Runner) -> None:
        self._given = runner.state
        if self._standstill is not None and self._standstill.ends_with(record):
            await self._get_on()

    async def _get_on(self) -> None:
        """Store everything written so far, and clear the run of the owners that ended before this one."""
        claim, self._standstill = self.claim, None
        await self.writer.flush()
        await retry_until_answered(lambda: self._log.got_on(claim.run_id, claim.token), "get on")
        self._got_on()


def _owner(info: RunInfo | None, *, claim: Claim) -> str:
    if info is None:
        return "the run is gone from Redis"
    if info.ended:
        return f"the run is {info.state} (epoch {info.epoch})"
    if info.epoch != claim.epoch:
        return f"{info.worker or 'no worker'} owns it now (epoch {info.epoch})"
    return "any worker that serves its agent takes it over when its lease has expired"
