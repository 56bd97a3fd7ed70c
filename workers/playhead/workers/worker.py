"""The worker: claims runs, holds their leases, runs their loops, and ends or hands over all of them before it ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.as_tool import family
from playhead.runtime.agent.factory import AgentFactory
from playhead.runtime.agent.serving import SERVED, Servable, Served, served_of
from playhead.runtime.core.arguments import check_callable, check_items
from playhead.runtime.core.checks import check_name
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import ENDED_STATES, now_ms
from playhead.runtime.guests.finding import framework_agent
from playhead.runtime.host.guest import Guest
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.interface import Log
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.values import Claim, WorkerInfo
from playhead.workers.apart import Apart
from playhead.workers.archiver import Archiver, check_kept_for_the_archive
from playhead.workers.blocked_loop import watch_for_a_blocked_loop
from playhead.workers.checkpoints import Visit
from playhead.workers.children import Children, refuse_names_of_children
from playhead.workers.duty import WORK_WAIT_S, Duty
from playhead.workers.execution import Execution
from playhead.workers.health import Health, HealthFile
from playhead.workers.leases.watchdog import now_s
from playhead.workers.meters import observed
from playhead.workers.options import WorkerOptions, WorkerStatistics, worker_name

__all__ = ["Worker"]

_CLAIM_AGAIN_S = 0.3
_DRAINING_TOLD_S = 1.0
_EACH = "an Agent, a guest, or a function that makes one"


class Worker:
    """Runs the given agents' runs from `log` until it is asked to drain. A function makes the agent of each of its runs, and
    an async generator function runs them itself.

    Run `run` in a task, and call `drain` to end it: the worker stops claiming, lets runs reach a boundary, hands over
    the rest, and only then stops renewing leases. `visit` is for tests: see `checkpoints`.

    In a deployment of several shards, `log` is the log of shard 0 and `more` has the logs of the others. An unreachable
    shard affects only its own runs. When a run ends, the shard that has waited longest may claim the next one, so that
    a shard with a long queue does not block the others.

    With an `archive`, a folder or a URL that fsspec knows, the worker archives the runs that end on it, and one of the live
    workers with that archive also those that end otherwise. A folder must be the same one on all hosts.

    With a `health_file`, it writes that file once a second; the file's time of modification is when the worker last asked
    for work and was answered. It is removed when `run` ends.

    Raises:
        ArchiveError: The archive is not a folder, or its URL needs an extra that is not installed.
        ValueError, TypeError: An argument is invalid, a retention is too short for an archive, or the health file cannot be
            written.
    """

    def __init__(
        self,
        agents: Sequence[Servable],
        *,
        log: Log,
        more: Sequence[Log] = (),
        options: WorkerOptions | None = None,
        name: str | None = None,
        visit: Visit | None = None,
        archive: str | Path | None = None,
        health_file: str | Path | None = None,
    ) -> None:
        check_items("agents", agents, object, each=_EACH)
        check_items("agents", [one for one in agents if not framework_agent(one)], SERVED, each=_EACH)
        sources = [served_of(one) for one in agents]
        for one in (log, *more):
            if not callable(getattr(one, "claim", None)):
                raise TypeError(f"log must be a log such as RedisLog(connect(url)), not {one!r}")
        if name is not None:
            check_name("name", name)
        if options is not None and not isinstance(cast("object", options), WorkerOptions):
            raise TypeError(f"options must be WorkerOptions, not {options!r}")
        check_callable("visit", visit, optional=True)
        self.name: str = name or worker_name(os.getpid(), uuid4().hex[:6])
        self.agents: dict[str, Served] = {
            one.name: one.snapshot() if isinstance(one, Agent) else one for one in sources
        }
        if not agents or len(self.agents) != len(agents):
            raise ValueError("a worker needs at least one agent, each with a name of its own")
        refuse_names_of_children(self.agents)
        self.options: WorkerOptions = options or WorkerOptions()
        # Stored with the runs: so it must not differ from the agents that run them, which are snapshots for this reason.
        own = {name: one if isinstance(one, Agent) else None for name, one in self.agents.items()}
        self._definitions = {name: one and one.definition.stored() for name, one in own.items()}
        hosted = {name: one.framework for name, one in self.agents.items() if isinstance(one, Guest)}
        self._frameworks = {name: framework for name, framework in hosted.items() if framework is not None}
        self._queues = list(queues_of(self.agents, self._frameworks))
        terms: dict[str, Any] = {"worker": self.name, "options": self.options, "visit": visit}
        self._duties = [Duty(one, frameworks=self._frameworks, **terms) for one in (log, *more)]
        self._archiver: Archiver | None = None
        if archive is not None:
            check_kept_for_the_archive(self.options)
            self._archiver = Archiver([log, *more], Archive(archive), worker=self.name)
        # Announced with its overrides, so that a client refuses what no worker would allow before there is a run.
        self._extra: dict[str, Any] = {
            "version": version("playhead-workers"),
            "durability": getattr(log, "durability", "memory"),
            "overrides": {name: _allowed(one) for name, one in self.agents.items()},
        }
        if self._archiver is not None:
            self._extra["archive"] = self._archiver.where
        self._health_file = None if health_file is None else HealthFile(health_file)
        self._held: dict[str, Execution] = {}
        self._apart = Apart(self._held)
        self._children = Children(lease_ms=self.options.lease_ms, ended=self._ended_here)
        self._slots = anyio.Semaphore(self.options.concurrency, fast_acquire=True)  # first come, first served
        self._draining = anyio.Event()
        self._idle = anyio.Event()
        self._claiming = anyio.CancelScope()
        self._claimed = 0
        self._ended: dict[str, int] = {}
        self._started = now_ms()

    def statistics(self) -> WorkerStatistics:
        """A snapshot of the counters."""
        return WorkerStatistics(
            running=len(self._held),
            claimed=self._claimed,
            ended=dict(self._ended),
            appends=sum(duty.commit.appends for duty in self._duties),
            records=sum(duty.commit.records for duty in self._duties),
            reaped=sum(duty.leases.reaped for duty in self._duties),
            renewals=sum(duty.leases.renewals for duty in self._duties),
            archived=self._archiver.archived if self._archiver else 0,
            asked_ago_s=self._asked_ago_s(),
        )

    def _asked_ago_s(self) -> float | None:
        answers = [duty.asking.answered_at(draining=self._draining.is_set()) for duty in self._duties]
        known = [one for one in answers if one is not None]
        return now_s() - min(known) if len(known) == len(answers) else None

    def _health(self) -> Health | None:
        ago = self._asked_ago_s()
        if ago is None:
            return None
        return Health(
            worker=self.name,
            state="draining" if self._draining.is_set() else "serving",
            running=len(self._held),
            concurrency=self.options.concurrency,
            asked=now_ms() - round(ago * 1000),
        )

    def drain(self) -> None:
        """Start to drain: `run` returns when every run has ended or been handed over."""
        self._draining.set()
        self._wake_all_shards()

    def _wake_all_shards(self) -> None:
        for duty in self._duties:
            duty.may_claim.set()

    async def run(self) -> None:
        """Work until drained. Waits for an unreachable Redis, and stops runs whose lease cannot be held.

        The servers are checked first; one that cannot be reached is checked when it can be, before the first claim there.

        Raises:
            UnusableServerError, RedisTooOldError: If a server cannot keep the log's promises or its durability.
            ModelConfigurationError: If the model of an agent cannot be used: its key, file or package is missing.
            LeaseTooShortError: If a round trip to the log takes too long for the lease.
            RedisAuthError: If Redis refuses the credentials, or the user lacks a right that a worker needs.
        """
        for agent in self.agents.values():
            if isinstance(agent, Agent):
                for one in (agent, *family(agent).values()):
                    cast("Agent", one).check_ready()
        try:
            await self._for_each_shard(Duty.check)
            with observed(self.name, self.statistics):
                await self._run()
        except BaseExceptionGroup as group:
            ours, rest = group.split(PlayheadError)
            if ours is None or rest is not None:
                raise
            raise _first(ours) from None
        with anyio.move_on_after(2, shield=True):
            await self._for_each_shard(Duty.withdraw)

    async def _for_each_shard(self, act: Callable[[Duty], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as tasks:
            for duty in self._duties:
                tasks.start_soon(act, duty)

    async def _run(self) -> None:
        async with anyio.create_task_group() as background:
            background.start_soon(watch_for_a_blocked_loop)
            for duty in self._duties:
                background.start_soon(duty.run)
                background.start_soon(duty.announce, self._info)
                background.start_soon(duty.listen, self._wanted)
                background.start_soon(self._empty_for_suspects, duty)
            if self._archiver is not None:
                background.start_soon(self._archiver.run)
            if self._health_file is not None:
                background.start_soon(self._health_file.run, self._health)
            async with anyio.create_task_group() as runs:
                runs.start_soon(self._claim_until_drained, runs)
                await self._draining.wait()
                await self._end_or_hand_over()
            if self._archiver is not None:
                await self._archiver.finish()
            background.cancel_scope.cancel()

    def _wanted(self) -> list[str]:
        """The queues whose notifications are waited for: all while another run can be held, else none."""
        is_full = len(self._held) >= self.options.concurrency or self._apart.execution is not None
        has_slot = not is_full and not self._draining.is_set()
        return self._queues if has_slot else []

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            worker=self.name,
            agents=list(self.agents),
            host=socket.gethostname(),
            pid=os.getpid(),
            concurrency=self.options.concurrency,
            running=len(self._held),
            started=self._started,
            frameworks=self._frameworks,
            draining=self._draining.is_set(),
            extra=self._extra,
        )

    async def _claim_until_drained(self, runs: TaskGroup) -> None:
        with self._claiming:
            await self._for_each_shard(partial(self._claim, runs))

    async def _claim(self, runs: TaskGroup, duty: Duty) -> None:
        refused = False
        while not self._draining.is_set():
            duty.may_claim = anyio.Event()
            pause = WORK_WAIT_S
            try:
                if refused:  # a slot that waits for an unreachable shard is not available to the others
                    await duty.look()
                while await self._claim_one(runs, duty):
                    pass
                refused = False
            except PlayheadError as error:
                duty.outage.refused("claim", error)
                refused, pause = True, _CLAIM_AGAIN_S
            with anyio.move_on_after(pause):
                await duty.may_claim.wait()

    async def _claim_one(self, runs: TaskGroup, duty: Duty) -> bool:
        """Wait for a free slot and claim a run for it. Returns False if none is queued, or if the worker drains."""
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            with duty.asking.full():
                await self._slots.acquire()
        taken = False
        try:
            if not self._draining.is_set() and self._apart.may_claim(duty):
                with self._apart.claiming(duty) as suspects:
                    found = await duty.claim(self._definitions, suspects=suspects)
                if found:
                    self._begin(runs, duty, *found)
                    taken = True
            duty.asking.claimed()
        finally:
            if not taken:
                self._slots.release()
        return taken

    async def _empty_for_suspects(self, duty: Duty) -> None:
        """Hand all runs over at their next boundary if a suspect waits for a worker that holds none."""
        while True:
            await anyio.sleep(WORK_WAIT_S)
            if self._draining.is_set() or not self._apart.could_empty:
                continue
            if await duty.should_empty(self._queues):
                self._apart.empty_for = duty
                for execution in self._held.values():
                    execution.lease.leave()

    def _begin(self, runs: TaskGroup, duty: Duty, claim: Claim, sent: float) -> None:
        execution = duty.execution(
            claim,
            self.agents[claim.agent],
            sent=sent,
            children=self._children.of(duty, runs),
            got_on=partial(self._join, claim.run_id),
        )
        may_stay = self._apart.take(execution, crash_limit=self.options.crash_limit)
        if self._draining.is_set() or not may_stay:  # nothing has begun, so the run is handed over at once
            execution.lease.stop()
        self._claimed += 1
        self._held[claim.run_id] = execution
        runs.start_soon(self._execute, execution, duty)

    def _join(self, run_id: str) -> None:
        """Note that the run got on: if it was held apart, other runs may be held again."""
        self._apart.leave(run_id)
        self._wake_all_shards()

    async def _execute(self, execution: Execution, duty: Duty) -> None:
        try:
            await execution.run()
        finally:
            self._ended_here(execution, duty)
            if self._held.get(execution.claim.run_id) is execution:  # else it was lost and claimed again here
                del self._held[execution.claim.run_id]
                self._apart.leave(execution.claim.run_id)
            self._slots.release()
            self._wake_all_shards()
            if not self._held:
                self._idle.set()
        await execution.tell_why_lost()

    def _ended_here(self, execution: Execution, duty: Duty) -> None:
        """Note that an execution has ended, of a run or of the child of one."""
        outcome = execution.outcome or "stopped"
        self._ended[outcome] = self._ended.get(outcome, 0) + 1
        if outcome in ENDED_STATES and self._archiver is not None:
            self._archiver.ended(duty.log, execution.claim.run_id)
        (duty.leases.give_up if outcome == "fenced" else duty.leases.drop)(execution.lease)

    async def _end_or_hand_over(self) -> None:
        if self._frameworks:
            # Else the runs that it hands over would wait for this worker, because it has their framework.
            with anyio.move_on_after(_DRAINING_TOLD_S):
                await self._for_each_shard(partial(Duty.announce_once, info=self._info()))
        for execution in self._held.values():
            execution.lease.leave()
        with anyio.move_on_after(self.options.grace_s):
            while self._held:
                self._idle = anyio.Event()
                await self._idle.wait()
        for execution in list(self._held.values()):
            execution.lease.stop()
        self._children.stop()
        # The server may never reply to a claim. If the claim took a run, the run's lease has nearly expired by then.
        self._claiming.deadline = anyio.current_time() + self.options.lease_ms / 1000


def _allowed(served: Served) -> Any:
    """What a caller may replace for one run; None if it is not known, because a factory makes the agent."""
    if isinstance(served, AgentFactory):
        return None
    return plain(served.allowed_overrides) if isinstance(served, Agent) else {}


def _first(group: BaseExceptionGroup[PlayheadError]) -> PlayheadError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
