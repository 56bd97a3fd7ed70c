"""The load: submits runs when others end, controls and watches them, and has each checked as soon as it is over."""

from __future__ import annotations

import random
from functools import partial

import anyio

from chaos.check import check_run, check_session
from chaos.collector import Collector
from chaos.control import Control, retry_until_answered
from chaos.evidence import Evidence
from chaos.plan import prompt
from chaos.scenarios import Conversation, Turn, draw

__all__ = ["Load"]


class Load:
    """Keeps the number of active conversations at `at_once`.

    Attributes:
        satisfied: Never set: there is always more to submit.
    """

    def __init__(self, collector: Collector, dice: random.Random, *, at_once: int) -> None:
        self.satisfied = anyio.Event()
        self._collector = collector
        self._dice = dice
        self._at_once = at_once
        self._stopped = anyio.Event()
        self._open: dict[str, Turn] = {}
        self._controls: dict[str, Control] = {}

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped.set()

    async def run(self, *, settle_s: float) -> None:
        """Run until `stop`, then until all runs are over; runs that are not over within `settle_s` count as hung."""
        free = anyio.Semaphore(self._at_once)
        async with anyio.create_task_group() as tasks:
            while not self._stopped.is_set():
                talk = draw(self._dice)
                await free.acquire()
                tasks.start_soon(self._converse, talk, free)
            tasks.start_soon(self._settle, tasks.cancel_scope, settle_s)
        for turn in list(self._open.values()):
            self._collector.judge(check_run, await self._evidence(turn))
        await self._collector.look_again()

    async def _settle(self, everything: anyio.CancelScope, settle_s: float) -> None:
        with anyio.move_on_after(settle_s):
            while self._open:  # noqa: ASYNC110 - every task must have ended its own wait
                await anyio.sleep(0.1)
            return
        everything.cancel()

    async def _converse(self, talk: Conversation, free: anyio.Semaphore) -> None:
        try:
            self._open |= {turn.plan.run: turn for turn in talk}
            async with anyio.create_task_group() as tasks:
                for turn in talk:
                    await self._submit(turn)
                    tasks.start_soon(self._attend, turn)
            runs = [await self._evidence(turn) for turn in talk]
            if session := talk[0].plan.session:
                messages = await self._collector.messages(session)
                self._collector.judge(lambda *several: check_session(several, messages), *runs)
            else:
                self._collector.judge(check_run, *runs)
            for turn in talk:
                del self._open[turn.plan.run]
        finally:
            free.release()

    async def _submit(self, turn: Turn) -> None:
        """Submit a run, perhaps several times: one id is one run."""
        plan = turn.plan
        start = partial(
            self._collector.client.start,
            plan.agent,
            prompt(plan),
            session_id=plan.session,
            run_id=plan.run,
            deadline=plan.deadline_s,
        )
        await retry_until_answered(start)

    async def _attend(self, turn: Turn) -> None:
        control = self._controls[turn.plan.run] = Control(self._collector.client, turn)
        await self._collector.attend(turn.plan.run, control)

    async def _evidence(self, turn: Turn) -> Evidence:
        return await self._collector.evidence(turn.plan, self._controls.pop(turn.plan.run, None))
