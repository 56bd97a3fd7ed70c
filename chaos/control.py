"""Controls runs from outside while they are injured: cancels, responses and steers. Each signal is sent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from chaos.evidence import Violation
from chaos.plan import human_response
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

__all__ = ["Control", "retry_until_answered"]

T = TypeVar("T")

_AGAIN_S = 0.1
_THINKING_S = 0.3


async def retry_until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat the call while the server cannot be reached."""
    while True:
        try:
            return await call()
        except LogUnavailableError:
            await anyio.sleep(_AGAIN_S)


class Control:
    """The signals sent to one run.

    Attributes:
        sent: The kind of every signal, by its id.
        acknowledged: The ids of signals that were accepted before the run had ended, in the order in which they were sent.
        violations: Responses that were refused although their interrupts were open, and errors that stopped the client.
    """

    def __init__(self, client: Client, turn: Turn) -> None:
        self.sent: dict[str, str] = {}
        self.acknowledged: list[str] = []
        self.violations: list[Violation] = []
        self._turn = turn
        self._run: Run = client.run(turn.plan.run)
        self._responded: set[str] = set()

    def begin(self, tasks: TaskGroup) -> None:
        """Send the turn's signals, in tasks that end with the turn or before."""
        if self._turn.cancel_after is not None:
            tasks.start_soon(self._do, partial(self._cancel, self._turn.cancel_after))
        if self._turn.steer_after:
            tasks.start_soon(self._do, self._steer)
        if self._turn.responds:
            tasks.start_soon(self._do, self._respond_to_all)

    def go_on(self, tasks: TaskGroup) -> None:
        """Respond again, because the end of the run was lost."""
        if self._turn.responds:
            tasks.start_soon(self._do, self._respond_to_all)

    async def _do(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except PlayheadError as error:
            what = f"the client that controls it was stopped by {type(error).__name__}: {error}"
            self.violations.append(Violation("reader", self._run.id, None, what))

    async def _send(self, kind: str, send: Callable[[str], Awaitable[Any]]) -> None:
        """Send a signal twice; it counts once. An acknowledged signal must be in the log before the run completes."""
        signal_id = uuid4().hex
        self.sent[signal_id] = kind
        for again in (False, True):
            try:
                state = await retry_until_answered(lambda: send(signal_id))
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
            text = f"steer number {number}"
            await self._send("steer", lambda signal_id, text=text: self._run.steer(text, signal_id=signal_id))

    async def _respond_to_all(self) -> None:
        """Respond to every interrupt until the run ends; an interrupt that is asked again gets its response again."""
        place: int | None = 0
        while place is not None:
            place = await self._respond_after(place)

    async def _respond_after(self, place: int) -> int | None:
        """Respond to interrupts after record `place`. Returns None at the run's end, or the record to continue after,
        because a failover lost the later ones.

        Viewers check that this loss was real; on a single server it is a violation.
        """
        try:
            async with aclosing(self._run.records(after=place)) as entries:
                async for entry in entries:
                    if isinstance(entry.record, RunPaused):
                        responses = {one["id"]: human_response(one) for one in entry.record.interrupts}
                        await anyio.sleep(_THINKING_S)
                        for some in [{k: v} for k, v in responses.items()] if self._turn.one_by_one else [responses]:
                            await self._respond(some)
        except RewindError as rewind:
            return rewind.common
        return None

    async def _respond(self, some: dict[str, Any]) -> None:
        try:
            await self._send("respond", lambda signal_id: self._run.respond(some, signal_id=signal_id))
        except InterruptNotOpenError as error:
            # A pause that is read late may list an interrupt that has its response by now; no other may be closed.
            if not some.keys() & self._responded:
                what = f"an open interrupt refused its response: {error}"
                self.violations.append(Violation("signal", self._run.id, None, what))
        self._responded |= some.keys()
