"""The guest's side of a host: gives back what the log has, in the log's order, and records what it has not.

All of it runs on the guest's event loop. `Writer` writes and `Waits` waits; here are the events and the signals of a run, whose places
in the log must be the same again.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, Record, SignalReceived, StepFinished, now_ms
from playhead.runtime.core.session import BEGAN_STEP, BeganFrom
from playhead.runtime.core.signals import Signal
from playhead.runtime.host.course import Beside, Course
from playhead.runtime.host.forms import shown
from playhead.runtime.host.keys import Keys
from playhead.runtime.host.observed import Observed
from playhead.runtime.host.pipe import Pipe
from playhead.runtime.host.retelling import Retelling
from playhead.runtime.host.thread import GuestThread
from playhead.runtime.host.waits import Waits

__all__ = ["Recorder"]


class Recorder(Waits, Keys, Observed):
    """What one owner's guest goes through again, and what it adds.

    Attributes:
        retelling: What parts of the run tell of work that is done again.
        cancelled: Whether a cancel is in force.
        when_cancelled: Called when it comes into force; None until the guest has begun, and signals then wait.
        ends_after_tools: Whether the guest ends by itself after the current tools, if a cancel asks for that.
        steers: The prompts that were sent to the running run, and that the guest has not taken.
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
        Keys.__init__(self)
        Waits.__init__(
            self,
            run_id,
            course=course,
            pipe=pipe,
            ownership=ownership,
            limit=limit,
            longest_wait=longest_wait,
            thread=thread,
        )
        self.retelling: Retelling = Retelling()
        self.cancelled: bool = False
        self.when_cancelled: Callable[[Cancel], object] | None = None
        self.ends_after_tools: bool = False
        self.steers: deque[Any] = deque()
        self._signals: deque[Signal] = deque()

    @property
    def replaying(self) -> bool:
        """Whether the log still has something that the guest has not come to again."""
        return self.course.left

    def begins_from(self, began: BeganFrom) -> None:
        """Record which messages of its session the run began from, if the log does not tell."""
        if self.course.step(BEGAN_STEP) is None and not self.offline:
            self.put(StepFinished(at=now_ms(), key=BEGAN_STEP, value=began.value))

    async def emit(
        self,
        record: Record,
        *,
        same: Callable[[Any], bool],
        part: str = "",
        beside: Beside | None = None,
        stands: bool = False,
    ) -> Any:
        """The next record of a lane: that of the log, if it has one, else `record`, which is then written.

        Signals that arrive while it waits for space come into force before it, here and in the log.

        `beside` says of records of the lane that they come in any order, as this one does: then it is the first of them that
        is the same. `same` says of a record of that type whether it stands for this one. If it does not, the run fails, unless the record
        is of a part of the run in which work is done again: see `Retelling`; or unless it `stands` nevertheless: then the difference is
        noted.
        """
        lane = getattr(record, "lane", "")
        logged = self.course.next_event(lane, same=same, beside=beside)
        self._note()
        if logged is None:
            if not lane:
                self.apply_signals()
            return await self._added(record)
        await self._signals_in_turn(logged)
        return await self._compared(record, logged, same=same, part=part, stands=stands)

    async def _added(self, record: Record) -> Any:
        """Write a record that the log does not have."""
        await self.put_all([record])
        return record

    async def _compared(
        self, record: Record, logged: Entry, *, same: Callable[[Any], bool], part: str, stands: bool
    ) -> Any:
        """The record that stands: that of the log, or, in a part of the run in which work is done again, this one."""
        alike = type(logged.record) is type(record)
        if alike and same(logged.record):
            self.retelling.same(part, record)
            return logged.record
        if alike and stands:
            self.told_otherwise(logged)
            return logged.record
        again = self.retelling.other(part)
        if again is None and (retold := self.course.retold(logged, same)) is not None:
            return retold.record
        if again is None:
            await self.fail(self.diverged(f"gave {shown(record)}", logged))
        self.course.drop_events(getattr(record, "lane", ""))
        await self.put_all([*(again or ()), record])
        return record

    @contextmanager
    def when_cut_off(self, tell: Callable[[], object]) -> Generator[None]:
        """Call `tell` if the guest waits no longer for the block, so that it is told the same again. A cancel of the run is not that."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.cancelled:
                tell()
            raise

    def check_end(self) -> None:
        """Check that the guest has come to everything that the log has of it.

        Raises:
            DivergedError: If it has not.
        """
        missed = self._missed()
        if missed is not None and not self.cancelled:
            raise self.diverged("ended", missed)

    def _missed(self) -> Entry | None:
        """What the log has of the guest that it has not come to."""
        return self.course.unasked() or self.course.event_left()

    def check_cancelled(self) -> None:
        """Cancel the guest again if a cancel is in force and it goes on nevertheless."""
        if self.cancelled:
            raise asyncio.CancelledError

    def _on_idle(self) -> bool:
        """Called when nothing on the loop is ready to run. Returns whether something is now."""
        self._noted = went_on = not self._over and (
            self._next_answer() or self._take_signals() or self._begin() or self._stand_still()
        )
        self._pipe.flush()
        return went_on

    def _next_answer(self) -> bool:
        due = self._turns[0][0] if self._turns else math.inf
        logged = self.course.signal(before=due)
        if logged is not None:
            self._apply(logged)
            return True
        while self._turns:
            turn = heapq.heappop(self._turns)[2]
            if not turn.done():
                turn.set_result(None)
                return True
        return False

    # What comes from the worker.

    def receive(self, signals: Iterable[Signal]) -> None:
        """Signals have arrived. They count from a point at which the guest waits, so that it is the same when run again."""
        self._signals += signals
        self._note()
        if not self.course.left and not self._turns:
            self._take_signals()

    def apply_signals(self, *, before: float = math.inf) -> None:
        """Let the signals that are in the log before that record come into force; all, at the end of a guest."""
        while (logged := self.course.signal(before=before)) is not None:
            self._apply(logged)

    async def _signals_in_turn(self, logged: Entry) -> None:
        """Let the signals before that record come into force, and before them the answers that came before them: what works
        side by side had these when a cancel came.
        """
        if self.course.signals_before(logged.seq):
            await self.in_turn(logged.seq)
            self.apply_signals(before=logged.seq)

    def next_prompt(self) -> Any | None:
        """At an end of the guest: the first prompt that was sent to the running run and that it has not taken. It is that of the
        guest's next invocation. None if there is none, or the run is cancelled.

        Signals that have arrived come into force here, so that none is lost.
        """
        self.apply_signals()
        if self._missed() is None:  # else the log has another invocation, in which they came
            self._take_all()
        return self.steers.popleft() if self.steers and not self.cancelled else None

    def _take_signals(self) -> bool:
        """Take the signals that have arrived. Prompts alone wait while the log has something left: they come after all of it."""
        if self._signals and self.course.left and all(one.kind == "steer" for one in self._signals):
            return False
        return self._take_all()

    def _take_all(self) -> bool:
        took = False
        while self._signals and not self._over and self.when_cancelled is not None:
            signal = self._signals.popleft()
            record = signal.received(at=now_ms())
            self._send(record)
            self._apply(record)
            took = True
        return took

    def _apply(self, record: SignalReceived) -> None:
        match record.kind:
            case "cancel":
                cancel = Cancel.read(record.body)
                self.cancelled |= not (cancel.after_current_tools and self.ends_after_tools)
                if self.when_cancelled is not None:
                    self.when_cancelled(cancel)
            case "steer":
                self.steers.append(record.body)
            case "respond":
                self._restate(record.invocation_state)
                for question, response in cast("dict[str, Any]", record.body or {}).items():
                    self._respond(question, response)
            case _:
                pass
