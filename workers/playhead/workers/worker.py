"""The worker: claims runs, holds their leases, runs their loops, and ends or hands over all of them before it ends."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Sequence
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from playhead.runtime import Agent
from playhead.runtime.codec import encode_record
from playhead.runtime.errors import LeaseTooShortError, PlayheadError
from playhead.runtime.log import Log, WorkerInfo, new_token
from playhead.runtime.records import RunClaimed, now_ms
from playhead.workers.checkpoints import Visit
from playhead.workers.commit import GroupCommit
from playhead.workers.execution import Execution
from playhead.workers.leases import Leases
from playhead.workers.mailbox import Mailbox
from playhead.workers.options import WorkerOptions, WorkerStatistics
from playhead.workers.pulse import now_s
from playhead.workers.resend import log_refusal

__all__ = ["Worker"]

logger = logging.getLogger(__name__)

_CLAIM_AGAIN_S = 0.3
_ROUND_TRIPS = 3  # tries: one may meet a busy moment
_NO_RUN = "nobody"
_BELL_WAIT_S = 2.0  # every wait ends in a claim: a lost ring costs at most this


class Worker:
    """Runs the given agents' runs from `log` until it is told to drain.

    Use `run` in a task; call `drain` to end it: it stops claiming, lets runs reach a boundary, hands over the rest, and
    only then stops renewing leases. `visit` is for tests: see `checkpoints`.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        *,
        log: Log,
        options: WorkerOptions | None = None,
        name: str | None = None,
        visit: Visit | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self.agents = {agent.name: agent for agent in agents}
        if not agents or len(self.agents) != len(agents):
            raise ValueError("a worker needs at least one agent, each with a name of its own")
        self.options = options or WorkerOptions()
        self._fingerprints = {agent.name: agent.fingerprint for agent in agents}
        self._log = log
        self._mailbox = Mailbox(log)
        signals_wait = self._mailbox.signals_wait
        self._commit = GroupCommit(log, signals_wait=signals_wait, visit=visit)
        self._held: dict[str, Execution] = {}
        self._leases = Leases(log=log, options=self.options, signals_wait=signals_wait, visit=visit)
        self._visit = visit
        self._may_claim = anyio.Event()
        self._draining = anyio.Event()
        self._idle = anyio.Event()
        self._claiming = anyio.CancelScope()
        self._unanswered: str | None = None  # the token of a claim
        self._claimed = 0
        self._ended: dict[str, int] = {}
        self._started = now_ms()

    def statistics(self) -> WorkerStatistics:
        """A snapshot of the counters."""
        return WorkerStatistics(
            running=len(self._held),
            claimed=self._claimed,
            ended=dict(self._ended),
            appends=self._commit.appends,
            records=self._commit.records,
            reaped=self._leases.reaped,
            renewals=self._leases.renewals,
        )

    def drain(self) -> None:
        """Begin to end: `run` returns when every run is ended or handed over."""
        self._draining.set()
        self._may_claim.set()

    async def run(self) -> None:
        """Work until drained. Redis going away is waited out; runs whose lease cannot be held are stopped.

        Raises:
            LeaseTooShortError: A round trip to the log takes so long that the lease could not be kept.
            RedisAuthError: Redis refuses the credentials.
        """
        await self._refuse_a_lease_too_short()
        try:
            await self._run()
        except BaseExceptionGroup as group:
            ours, rest = group.split(PlayheadError)
            if ours is None or rest is not None:
                raise
            raise _first(ours) from None
        await self._say_goodbye()

    async def _refuse_a_lease_too_short(self) -> None:
        """A renewal may take a third of the lease; one round trip must not take half of that."""
        limit = self.options.lease_ms / 6000
        best = math.inf
        for _ in range(_ROUND_TRIPS):
            sent = now_s()
            try:
                await self._log.info(_NO_RUN)
            except PlayheadError:  # Redis is away: that is waited out, as later
                return
            best = min(best, now_s() - sent)
            if best <= limit:
                return
        raise LeaseTooShortError(
            f"a lease of {self.options.lease_ms / 1000:g} s cannot be kept: a round trip to Redis takes {best:.2f} s, and "
            f"a renewal needs several in that time. Use a lease of {math.ceil(12 * best)} s or more (--lease, lease_ms), "
            "or a Redis that is nearer."
        )

    async def _run(self) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._commit.run)
            background.start_soon(self._leases.run)
            background.start_soon(self._announce)
            background.start_soon(self._mailbox.run)
            background.start_soon(self._listen)
            async with anyio.create_task_group() as runs:
                runs.start_soon(self._claim_until_drained, runs)
                await self._draining.wait()
                await self._end_or_hand_over()
            background.cancel_scope.cancel()

    async def _claim_until_drained(self, runs: TaskGroup) -> None:
        with self._claiming:
            await self._claim(runs)

    async def _claim(self, runs: TaskGroup) -> None:
        while not self._draining.is_set():
            self._may_claim = anyio.Event()
            pause = _BELL_WAIT_S
            try:
                while len(self._held) < self.options.concurrency and not self._draining.is_set():
                    if not await self._claim_one(runs):
                        break
            except PlayheadError as error:
                log_refusal("claim", error)
                pause = _CLAIM_AGAIN_S
            with anyio.move_on_after(pause):
                await self._may_claim.wait()

    async def _claim_one(self, runs: TaskGroup) -> bool:
        # Until it is answered a claim is sent again as the same one: its run, if it took one, would be lost for a lease.
        token = self._unanswered = self._unanswered or new_token()
        notes = {
            name: encode_record(RunClaimed(at=now_ms(), worker=self.name, fingerprint=fingerprint))
            for name, fingerprint in self._fingerprints.items()
        }
        sent = now_s()
        claim = await self._log.claim(
            notes,
            worker=self.name,
            token=token,
            lease_ms=self.options.lease_ms,
            crash_limit=self.options.crash_limit,
            retention_ms=self.options.retention_ms,
        )
        self._unanswered = None
        if claim is None:
            return False
        execution = Execution(
            claim,
            self.agents[claim.agent],
            log=self._log,
            commit=self._commit,
            lease=self._leases.hold(claim.run_id, token, sent=sent),
            mailbox=self._mailbox,
            worker=self.name,
            retention_ms=self.options.retention_ms,
            lease_ms=self.options.lease_ms,
            visit=self._visit,
        )
        if self._draining.is_set():  # while the claim was on its way: nothing is begun yet, so it goes straight back
            execution.lease.stop()
        self._claimed += 1
        self._held[claim.run_id] = execution
        runs.start_soon(self._execute, execution)
        return True

    async def _execute(self, execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            outcome = execution.outcome or "stopped"
            self._ended[outcome] = self._ended.get(outcome, 0) + 1
            self._leases.drop(execution.lease)
            if self._held.get(execution.claim.run_id) is execution:  # else it was lost and claimed anew, here
                del self._held[execution.claim.run_id]
            self._may_claim.set()
            if not self._held:
                self._idle.set()
        await execution.tell_why_lost()

    async def _end_or_hand_over(self) -> None:
        for execution in self._held.values():
            execution.lease.leave()
        with anyio.move_on_after(self.options.grace_s):
            while self._held:
                self._idle = anyio.Event()
                await self._idle.wait()
        for execution in list(self._held.values()):
            execution.lease.stop()
        # A claim that a server which hangs does not answer; if it was taken, the run's lease has nearly run out by then.
        self._claiming.deadline = anyio.current_time() + self.options.lease_ms / 1000

    async def _listen(self) -> None:
        """Wait for the bells: of the agents while there is room for a run, of this worker always."""
        while True:
            wanted = list(self.agents) if len(self._held) < self.options.concurrency else []
            if self._draining.is_set():
                wanted = []
            try:
                signalled = await self._log.wait_for_work(wanted, worker=self.name, timeout=_BELL_WAIT_S)
            except PlayheadError as error:
                log_refusal("wait for work", error)
                await anyio.sleep(0.2)
                continue
            if signalled is not None:
                self._mailbox.signals_wait(signalled)
            self._may_claim.set()

    async def _announce(self) -> None:
        """Say three times a lease that this worker lives, what it serves and how busy it is."""
        while True:
            info = WorkerInfo(
                worker=self.name,
                agents=list(self.agents),
                host=socket.gethostname(),
                pid=os.getpid(),
                concurrency=self.options.concurrency,
                running=len(self._held),
                started=self._started,
            )
            try:
                await self._log.announce(info, ttl_ms=self.options.lease_ms)
            except PlayheadError as error:
                log_refusal("announce", error)
            await anyio.sleep(self.options.lease_ms / 3000)

    async def _say_goodbye(self) -> None:
        with anyio.move_on_after(2, shield=True):
            try:
                await self._log.retire(self.name)
            except PlayheadError as error:
                logger.info("retire: %s", error)


def _first(group: BaseExceptionGroup[PlayheadError]) -> PlayheadError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
