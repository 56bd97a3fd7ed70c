"""The worker: claims runs, holds their leases, runs their loops, and lets go of them in order."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from playhead.runtime import Agent
from playhead.runtime.codec import encode_record
from playhead.runtime.errors import PlayheadError, RedisAuthError
from playhead.runtime.log import Log, WorkerInfo, crash_failure, new_token
from playhead.runtime.log.base import DEFAULT_CRASH_LIMIT, DEFAULT_LEASE_MS, DEFAULT_RETENTION_MS
from playhead.runtime.records import RunClaimed, now_ms
from playhead.workers.commit import GroupCommit
from playhead.workers.execution import Execution

__all__ = ["Worker", "WorkerOptions", "WorkerStatistics"]

logger = logging.getLogger(__name__)

_BELL_WAIT_S = 2.0  # every wait ends in a claim: a lost ring costs at most this
_MINIMUM_LEASE_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        concurrency: Runs held at once.
        lease_ms: How long the fleet waits for a silent worker before another takes its runs; 2,000 or more.
        grace_s: Seconds a draining worker lets runs go on to a boundary before it stops them there.
        crash_limit: Workers a run may take down with it before it is failed.
        retention_ms: How long a finished run stays readable.
    """

    concurrency: int = 100
    lease_ms: int = DEFAULT_LEASE_MS
    grace_s: float = 20.0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency}")
        if self.lease_ms < _MINIMUM_LEASE_MS:
            raise ValueError(f"lease_ms must be at least {_MINIMUM_LEASE_MS}, not {self.lease_ms}")
        if self.grace_s < 0 or self.crash_limit < 0 or self.retention_ms < 1:
            raise ValueError("grace_s and crash_limit must not be negative, retention_ms must be positive")


class WorkerStatistics(NamedTuple):
    """What a worker has done since it started, and holds now."""

    running: int
    """Runs held now."""
    claimed: int
    """Runs claimed."""
    ended: Mapping[str, int]
    """Executions by outcome: completed, failed, cancelled, handed_over, fenced."""
    appends: int
    """Calls that appended records."""
    records: int
    """Records appended by them."""
    reaped: int
    """Runs of dead workers put back in line."""


@dataclass(slots=True)
class _Held:
    execution: Execution
    renewed_at: float  # monotonic, when the last successful renewal was *sent*


class Worker:
    """Runs the given agents' runs from `log` until it is told to drain.

    Use `run` in a task; call `drain` to end it: it stops claiming, lets runs reach a boundary, hands over the rest, and
    only then stops renewing leases.
    """

    def __init__(
        self, agents: Sequence[Agent], *, log: Log, options: WorkerOptions | None = None, name: str | None = None
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self.agents = {agent.name: agent for agent in agents}
        if not agents or len(self.agents) != len(agents):
            raise ValueError("a worker needs at least one agent, each with a name of its own")
        self.options = options or WorkerOptions()
        self._fingerprints = {agent.name: agent.fingerprint for agent in agents}
        self._log = log
        self._commit = GroupCommit(log)
        self._commit.on_signals = self._signalled
        self._held: dict[str, _Held] = {}
        self._inboxes: set[str] = set()
        self._look = anyio.Event()
        self._may_claim = anyio.Event()
        self._draining = anyio.Event()
        self._idle = anyio.Event()
        self._claimed = 0
        self._reaped = 0
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
            reaped=self._reaped,
        )

    def drain(self) -> None:
        """Begin to end: `run` returns when every run is ended or handed over."""
        self._draining.set()
        self._may_claim.set()

    async def run(self) -> None:
        """Work until drained. Redis going away is waited out; runs whose lease cannot be held are stopped.

        Raises:
            RedisAuthError: Redis refuses the credentials.
        """
        try:
            await self._run()
        except BaseExceptionGroup as group:
            ours, rest = group.split(PlayheadError)
            if ours is None or rest is not None:
                raise
            raise _first(ours) from None
        await self._say_goodbye()

    async def _run(self) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(self._commit.run)
            background.start_soon(self._renew)
            background.start_soon(self._guard_leases)
            background.start_soon(self._reap)
            background.start_soon(self._read_inboxes)
            background.start_soon(self._listen)
            async with anyio.create_task_group() as runs:
                runs.start_soon(self._claim_until_drained, runs)
                await self._draining.wait()
                await self._let_go()
            background.cancel_scope.cancel()

    async def _claim_until_drained(self, runs: TaskGroup) -> None:
        while not self._draining.is_set():
            self._may_claim = anyio.Event()
            try:
                while len(self._held) < self.options.concurrency and not self._draining.is_set():
                    if not await self._claim_one(runs):
                        break
            except PlayheadError as error:
                _log_refusal("claim", error)
            with anyio.move_on_after(_BELL_WAIT_S):
                await self._may_claim.wait()

    async def _claim_one(self, runs: TaskGroup) -> bool:
        sent = time.monotonic()
        notes = {
            name: encode_record(RunClaimed(at=now_ms(), worker=self.name, fingerprint=fingerprint))
            for name, fingerprint in self._fingerprints.items()
        }
        claim = await self._log.claim(notes, worker=self.name, token=new_token(), lease_ms=self.options.lease_ms)
        if claim is None:
            return False
        execution = Execution(
            claim,
            self.agents[claim.agent],
            log=self._log,
            commit=self._commit,
            worker=self.name,
            retention_ms=self.options.retention_ms,
            lease_ms=self.options.lease_ms,
        )
        if self._draining.is_set():  # while the claim was on its way: nothing is begun yet, so it goes straight back
            execution.scope.cancel()
        self._claimed += 1
        self._held[claim.run_id] = _Held(execution, renewed_at=sent)
        runs.start_soon(self._execute, execution)
        return True

    async def _execute(self, execution: Execution) -> None:
        try:
            await execution.run()
        finally:
            outcome = execution.outcome or "stopped"
            self._ended[outcome] = self._ended.get(outcome, 0) + 1
            held = self._held.get(execution.claim.run_id)
            if held is not None and held.execution is execution:  # else it was lost and claimed anew, here
                del self._held[execution.claim.run_id]
            self._may_claim.set()
            if not self._held:
                self._idle.set()

    async def _let_go(self) -> None:
        for held in self._held.values():
            held.execution.handing_over = True
        with anyio.move_on_after(self.options.grace_s):
            while self._held:
                self._idle = anyio.Event()
                await self._idle.wait()
        for held in list(self._held.values()):
            held.execution.scope.cancel()

    async def _renew(self) -> None:
        """Renew every third of the lease; errors are retried sooner, and never end this task."""
        third = self.options.lease_ms / 3000
        pause = third
        while True:
            await self._announce()
            await anyio.sleep(pause)
            sent = time.monotonic()
            held = [(run_id, one.execution) for run_id, one in self._held.items()]
            try:
                with anyio.fail_after(third):
                    owned = [(run_id, execution.claim.token) for run_id, execution in held]
                    renewals = await self._log.renew(owned, lease_ms=self.options.lease_ms)
            except (PlayheadError, TimeoutError) as error:
                _log_refusal("renew", error)
                pause = third / 4
                continue
            pause = third
            for (run_id, execution), renewal in zip(held, renewals, strict=True):
                self._take_renewal(run_id, execution, ours=renewal.ours, inbox=renewal.inbox, sent=sent)

    def _take_renewal(self, run_id: str, execution: Execution, *, ours: bool, inbox: int, sent: float) -> None:
        held = self._held.get(run_id)
        if held is None or held.execution is not execution:
            return
        if not ours:
            self._lose(execution, "its lease was lost")
            return
        held.renewed_at = sent
        if inbox:
            self._signalled(run_id)

    async def _guard_leases(self) -> None:
        """Stop a run at two thirds of its lease without a renewal: nobody else can have claimed it yet."""
        limit = self.options.lease_ms / 1000 * 2 / 3
        while True:
            await anyio.sleep(limit / 10)
            now = time.monotonic()
            for held in list(self._held.values()):
                if now - held.renewed_at > limit:
                    self._lose(held.execution, f"no renewal went through for {limit:.1f} s")

    def _lose(self, execution: Execution, why: str) -> None:
        if execution.outcome is None:
            execution.writer.fence(why)
            execution.scope.cancel()

    async def _reap(self) -> None:
        """Look for runs of dead workers twice a lease, this worker's own former self included."""
        while True:
            try:
                reaped = await self._log.reap(
                    failure=crash_failure(self.options.crash_limit),
                    crash_limit=self.options.crash_limit,
                    retention_ms=self.options.retention_ms,
                )
            except PlayheadError as error:
                _log_refusal("reap", error)
            else:
                self._reaped += len(reaped)
                for run_id in reaped:
                    logger.warning("run %s: its worker stopped renewing; put back in line", run_id)
            await anyio.sleep(min(self.options.lease_ms / 2000, 0.5))

    async def _listen(self) -> None:
        """Wait for the bells: of the agents while there is room for a run, of this worker always."""
        while True:
            wanted = list(self.agents) if len(self._held) < self.options.concurrency else []
            if self._draining.is_set():
                wanted = []
            try:
                signalled = await self._log.wait_for_work(wanted, worker=self.name, timeout=_BELL_WAIT_S)
            except PlayheadError as error:
                _log_refusal("wait for work", error)
                await anyio.sleep(0.2)
                continue
            if signalled is not None:
                self._signalled(signalled)
            self._may_claim.set()

    def _signalled(self, run_id: str) -> None:
        self._inboxes.add(run_id)
        self._look.set()

    async def _read_inboxes(self) -> None:
        while True:
            await self._look.wait()
            self._look = anyio.Event()
            while self._inboxes:
                run_id = self._inboxes.pop()
                held = self._held.get(run_id)
                if held is None:
                    continue
                try:
                    held.execution.control.deliver(await self._log.inbox(run_id))
                except PlayheadError as error:
                    _log_refusal(f"inbox of {run_id}", error)
                    self._inboxes.add(run_id)
                    await anyio.sleep(0.2)

    async def _announce(self) -> None:
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
            _log_refusal("announce", error)

    async def _say_goodbye(self) -> None:
        with anyio.move_on_after(2, shield=True):
            try:
                await self._log.retire(self.name)
            except PlayheadError as error:
                logger.info("retire: %s", error)


def _log_refusal(what: str, error: Exception) -> None:
    """Log it and go on: Redis may be away, or one run's keys be damaged, which must not end the worker of all others.

    Raises:
        RedisAuthError: Credentials are no run's fault and no wait cures them.
    """
    if isinstance(error, RedisAuthError):
        raise error
    logger.warning("%s: %s; trying again", what, error or type(error).__name__)


def _first(group: BaseExceptionGroup[PlayheadError]) -> PlayheadError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
