"""The sessions that the fake provider serves: each submits a number of runs, mostly one after the other, and is checked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from chaos.answers import Task
from chaos.check import check_provided, check_session
from chaos.collector import Collector
from chaos.control import retry_until_answered
from chaos.evidence import Evidence, Violation
from chaos.plan import Plan
from chaos.provider_agents import NAMES
from playhead.runtime.core.ids import new_run_id

__all__ = ["Sessions"]

_AT_ONCE: Final = (1, 1, 1, 2, 3)


class Sessions:
    """A number of sessions at once, which together submit a number of runs.

    Attributes:
        satisfied: Set when every session has had its runs. After `stop`, each gets one more, without faults.
    """

    def __init__(self, collector: Collector, *, seed: int, sessions: int, runs: int) -> None:
        self.satisfied = anyio.Event()
        self._collector = collector
        self._seed = seed
        self._runs = runs
        self._stopped = anyio.Event()
        self._over: dict[str, list[Evidence]] = {f"chaos-{number}": [] for number in range(sessions)}
        self._open: dict[str, tuple[Plan, Task]] = {}

    def stop(self) -> None:
        """Submit only the last run of each session from now on."""
        self._stopped.set()

    async def run(self, *, settle_s: float) -> None:
        """Run to the end; runs that are not over within `settle_s` after `stop` count as hung."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settle, tasks.cancel_scope, settle_s)
            async with anyio.create_task_group() as sessions:
                for number, session in enumerate(self._over):
                    runs = len(range(number, self._runs, len(self._over)))
                    sessions.start_soon(self._converse, session, runs)
            self.satisfied.set()
            await self._stopped.wait()
            async with anyio.create_task_group() as sessions:
                for session in self._over:
                    sessions.start_soon(self._submit_all, session, [self._task(session, "last", is_plain=True)])
            tasks.cancel_scope.cancel()
        for plan, task in list(self._open.values()):
            self._collector.judge(partial(check_provided, task=task), await self._collector.evidence(plan))
        await self._check_sessions()
        await self._collector.look_again()

    async def _settle(self, everything: anyio.CancelScope, settle_s: float) -> None:
        await self._stopped.wait()
        await anyio.sleep(settle_s)
        everything.cancel()

    async def _converse(self, session: str, runs: int) -> None:
        dice = random.Random(f"{self._seed} {session}")
        tasks = [self._task(session, str(number)) for number in range(runs)]
        while tasks and not self._stopped.is_set():
            count = dice.choice(_AT_ONCE)
            await self._submit_all(session, tasks[:count])
            del tasks[:count]

    def _task(self, session: str, name: str, *, is_plain: bool = False) -> Task:
        return Task(f"{session}-{name}", self._seed, is_plain)

    async def _submit_all(self, session: str, tasks: Sequence[Task]) -> None:
        """Submit runs at once, wait until all are over, and check them."""
        plans = [self._plan(session, task) for task in tasks]
        self._open |= {plan.run: (plan, task) for plan, task in zip(plans, tasks, strict=True)}
        async with anyio.create_task_group() as group:
            for plan, task in zip(plans, tasks, strict=True):
                client = self._collector.client
                start = partial(client.start, plan.agent, task.prompt, session_id=session, run_id=plan.run)
                await retry_until_answered(start)
                group.start_soon(self._collector.attend, plan.run)
        for plan, task in zip(plans, tasks, strict=True):
            evidence = await self._collector.evidence(plan)
            self._collector.judge(partial(check_provided, task=task), evidence)
            self._over[session].append(evidence)
            del self._open[plan.run]

    def _plan(self, session: str, task: Task) -> Plan:
        agent = random.Random(f"agent {task}").choice(NAMES)
        scenario = "after all faults" if task.is_plain else "provider"
        return Plan(run=new_run_id(), scenario=scenario, agent=agent, words=0, pause_ms=0, session=session)

    async def _check_sessions(self) -> None:
        """Check that each session holds the messages of its runs, and that its last run completed, so the session is usable."""
        for session, runs in self._over.items():
            messages = await self._collector.messages(session)
            self._collector.violations += check_session(runs, messages, check=lambda evidence: [])
            if not runs or runs[-1].state != "completed" or runs[-1].plan.scenario == "provider":
                self._collector.violations.append(Violation("session", session, None, "its last run did not complete"))
