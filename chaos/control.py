"""Controlling runs from outside while they are injured: cancels, answers, and what is said to them. Each is sent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from chaos.evidence import Violation
from chaos.plan import human_answer
from chaos.scenarios import Turn
from playhead.client import Client, Run
from playhead.runtime.core.errors import (
    InterruptNotOpenError,
    LogUnavailableError,
    PlayheadError,
    RewindError,
    RunEndedError,
)
from playhead.runtime.core.records import ENDED_STATES, RunPaused

__all__ = ["Control", "persistently"]

T = TypeVar("T")

_AGAIN_S = 0.1
_THINKING_S = 0.3


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the server is away or the line is cut."""
    while True:
        try:
            return await call()
        except LogUnavailableError:
            await anyio.sleep(_AGAIN_S)


class Control:
    """What is sent to one run.

    Attributes:
        sent: The kind of every signal, by its id.
        acknowledged: Ids of those that were accepted before the run had ended, in the order of their sending.
        violations: Answers that were refused though their questions were open, and errors that stopped the client.
    """

    def __init__(self, client: Client, turn: Turn) -> None:
        self.sent: dict[str, str] = {}
        self.acknowledged: list[str] = []
        self.violations: list[Violation] = []
        self._turn = turn
        self._run: Run = client.run(turn.plan.run)
        self._answered: set[str] = set()

    def begin(self, tasks: TaskGroup) -> None:
        """Do what the turn says, in tasks that end with it or before."""
        if self._turn.cancel_after is not None:
            tasks.start_soon(self._do, partial(self._cancel, self._turn.cancel_after))
        if self._turn.steer_after:
            tasks.start_soon(self._do, self._steer)
        if self._turn.answers:
            tasks.start_soon(self._do, self._answer_all)

    def go_on(self, tasks: TaskGroup) -> None:
        """Answer again: the end of the run was lost."""
        if self._turn.answers:
            tasks.start_soon(self._do, self._answer_all)

    async def _do(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except PlayheadError as error:
            what = f"the client that controls it was stopped by {type(error).__name__}: {error}"
            self.violations.append(Violation("reader", self._run.id, None, what))

    async def _send(self, kind: str, send: Callable[[str], Awaitable[Any]]) -> None:
        """Twice, which counts once; what is acknowledged by then must be in the log before the run completes."""
        signal_id = uuid4().hex
        self.sent[signal_id] = kind
        for again in (False, True):
            try:
                state = await persistently(lambda: send(signal_id))
            except RunEndedError:
                return
            if not again and state not in ENDED_STATES:
                self.acknowledged.append(signal_id)

    async def _cancel(self, after_s: float) -> None:
        await anyio.sleep(after_s)
        await self._send("cancel", lambda signal_id: self._run.cancel(signal_id=signal_id))

    async def _steer(self) -> None:
        began = anyio.current_time()
        for number, after_s in enumerate(self._turn.steer_after):
            await anyio.sleep_until(began + after_s)
            text = f"word {number} on the way"
            await self._send("steer", lambda signal_id, text=text: self._run.steer(text, signal_id=signal_id))

    async def _answer_all(self) -> None:
        """Be the human: answer whatever the run waits for, until it ends. What died again is asked again."""
        place: int | None = 0
        while place is not None:
            place = await self._answer_behind(place)

    async def _answer_behind(self, place: int) -> int | None:
        """Answer behind record `place`; None at the run's end, else where to go on: a failover lost what comes behind.

        Viewers check that this is so; a single server's are stopped by it.
        """
        try:
            async with aclosing(self._run.records(after=place)) as entries:
                async for entry in entries:
                    if isinstance(entry.record, RunPaused):
                        answers = {one["id"]: human_answer(one) for one in entry.record.interrupts}
                        await anyio.sleep(_THINKING_S)
                        for some in [{k: v} for k, v in answers.items()] if self._turn.one_by_one else [answers]:
                            await self._answer(some)
        except RewindError as rewind:
            return rewind.common
        return None

    async def _answer(self, some: dict[str, Any]) -> None:
        try:
            await self._send("respond", lambda signal_id: self._run.respond(some, signal_id=signal_id))
        except InterruptNotOpenError as error:
            # A pause that we read late may list what we have answered since; nothing else may be closed.
            if not some.keys() & self._answered:
                what = f"an open question took no answer: {error}"
                self.violations.append(Violation("signal", self._run.id, None, what))
        self._answered |= some.keys()
