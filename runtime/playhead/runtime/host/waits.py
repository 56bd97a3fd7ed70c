"""What a guest waits for: its turn with what the log has, leave to begin what it has not, responses, and times.

An answer of the log is given when nothing on the loop is ready to run, the one with the lowest number first: so what ran side by
side ends in the order in which it ended. What is not in the log goes live, when no such answer is waited for.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any, Final

from playhead.runtime.core.errors import DivergedError, FencedError
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, RunPaused, now_ms
from playhead.runtime.host.course import Course
from playhead.runtime.host.forms import shown
from playhead.runtime.host.pipe import HandOver, Pipe, Raised
from playhead.runtime.host.thread import GuestThread
from playhead.runtime.host.writer import Writer

__all__ = ["ADVICE", "Waits"]

ADVICE: Final = (
    "The code of the agent has changed, or it decides by what is not in the log: a clock, a random number, a file. "
    "Take such a value through a step, which is computed once"
)


class Waits(Writer):
    """Where one owner's guest waits. Use it on the guest's event loop.

    Attributes:
        run_id: The run.
        course: What the log has that the guest has not come to again.
        differs: What is known to differ from the execution that wrote the log; empty if nothing is.
        restated: The caller's values of the last response that had some and that the guest has come to; None for those of
            record 1.
        pause_result: What the result of a pause has besides its questions.
    """

    def __init__(
        self,
        run_id: str,
        *,
        course: Course,
        pipe: Pipe,
        ownership: Ownership,
        limit: int,
        longest_wait: float,
        thread: GuestThread,
    ) -> None:
        super().__init__(pipe=pipe, thread=thread, limit=limit)
        self.run_id: str = run_id
        self.course: Course = course
        self.differs: str = ""
        self.restated: dict[str, Any] | None = None
        self.pause_result: dict[str, Any] = {"stop_reason": "interrupt", "message": {}, "state": {}}
        self._ownership = ownership
        self._longest_wait = longest_wait
        self._turns: list[tuple[int, int, asyncio.Future[None]]] = []
        self._to_begin: list[tuple[str, asyncio.Future[None], asyncio.Task[Any] | None]] = []
        self._working = 0
        self._asked: dict[str, tuple[dict[str, Any], asyncio.Future[Any]]] = {}
        self._early: dict[str, Any] = {}  # responses to questions that the guest has not come to again
        self._sleepers: list[float] = []
        self._leaving = False
        self._closed = False  # the guest is to end

    async def in_turn(self, seq: int) -> None:
        """Wait until the answer of this record is due."""
        self._check_open()
        if self._elsewhere():
            return
        self._note()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._turns, (seq, id(turn), turn))
        await turn

    async def goes_live(self, what: str) -> None:
        """Wait until something that the log does not have may begin; `ends_live` must follow."""
        self._check_open()
        if self._elsewhere():
            self._working += 1
            await self.check_owned()
            return
        self._note()
        begins: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_begin.append((what, begins, asyncio.current_task()))
        try:
            await begins
        except asyncio.CancelledError:
            if begins.done() and not begins.cancelled():  # cancelled in the turn in which it was to begin
                self._working -= 1
            self._note()
            raise
        await self.check_owned()

    def ends_live(self) -> None:
        """What went live has ended."""
        self._working -= 1
        self._note()

    async def check_owned(self) -> None:
        """Go on only if this process may still act for the run; else the guest stops here."""
        try:
            self._ownership.check(beginning=True)
        except FencedError as error:
            await self.fail(error)

    async def ask(self, interrupt: dict[str, Any]) -> Any:
        """The response to a question. Without one the run pauses as soon as nothing else of it is at work."""
        logged = self.course.answer(interrupt["id"])
        if logged is not None:
            await self.in_turn(logged.seq)
            self._restate(logged.invocation_state)
            return logged.response
        if interrupt["id"] in self._early:
            return self._early.pop(interrupt["id"])
        self._check_open()
        self._note()
        response: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[interrupt["id"]] = (interrupt, response)
        try:
            return await response
        finally:
            self._asked.pop(interrupt["id"], None)
            self._note()

    async def sleep_until(self, until: float) -> None:
        """Wait until this time, in unix seconds; a long wait hands the run over, if nothing else of it is at work."""
        rest = until - now_ms() / 1000
        if rest <= 0:
            return
        self._sleepers.append(until)
        self._note()
        try:
            await asyncio.sleep(rest)
        finally:
            self._sleepers.remove(until)
            self._note()

    def _check_open(self) -> None:
        """Cancel a guest that goes on after its run was handed over or lost, or from its own clean-up."""
        if self._closed:
            raise asyncio.CancelledError

    def leave(self) -> None:
        """Hand the run over as soon as nothing of it is at work."""
        self._leaving = True
        self._note()

    def close(self) -> None:
        """Write nothing more, and let nothing more begin. In any thread."""
        self._over = self._closed = True

    def diverged(self, did: str, logged: Entry) -> DivergedError:
        """The error of a guest that did something else than this record says."""
        error = DivergedError(
            f"run {self.run_id}: run again after a takeover, the agent {did}, but record {logged.seq} of the log is "
            f"{shown(logged.record)}. {self.differs or ADVICE}"
        )
        error.did, error.logged = did, logged
        return error

    # When nothing on the loop is ready to run.

    def _begin(self) -> bool:
        self._to_begin = [one for one in self._to_begin if not one[1].done()]
        if self._leaving or not self._to_begin:
            return False
        missed = self.course.unasked()
        # A thread that the guest began may come to it yet: its calls are not tasks of the guest, and what waits for it is one.
        if missed is not None and self._thread.tasks <= {task for _, _, task in self._to_begin}:
            error = self.diverged(f"began {self._to_begin[0][0]}", missed)
            self._send(Raised(error))  # what waits stays so: no handler of the guest's sees it
            self._over = True
            return False
        waiting, self._to_begin = self._to_begin, []
        for _, begins, _ in waiting:
            self._working += 1
            begins.set_result(None)
        return True

    def _stand_still(self) -> bool:
        """Hand the run over or pause it, if it gets no further here."""
        if self._working:
            return False
        rest = min(self._sleepers, default=0.0) - now_ms() / 1000
        if self._leaving:
            self._send(HandOver(max(0.0, rest)))
            self._over = True
        elif self._asked and not self._sleepers:
            interrupts = [interrupt for interrupt, _ in self._asked.values()]
            result = {**self.pause_result, "interrupts": interrupts}
            self._send(RunPaused(at=now_ms(), interrupts=interrupts, result=result))
            self._over = True
        elif self._sleepers and not self._asked and rest > self._longest_wait:
            self._send(HandOver(rest))
            self._over = True
        return False

    def _restate(self, given: dict[str, Any] | None) -> None:
        if given is not None:
            self.restated = given

    def _respond(self, question: str, response: Any) -> None:
        if response is None:  # not a response, as in Strands
            return
        _, waiting = self._asked.get(question, (None, None))
        if waiting is None:
            self._early[question] = response
        elif not waiting.done():
            waiting.set_result(response)
