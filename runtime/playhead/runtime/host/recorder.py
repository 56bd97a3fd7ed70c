"""The guest's side of a host: gives back what the log has, in the log's order, and records what it has not.

All of it runs on the guest's event loop. What the guest waits for is one of two things. An answer of the log is given when
nothing on the loop is ready to run, the one with the lowest number first: so what ran side by side ends in the order in
which it ended. What is not in the log goes live, when no such answer is waited for.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, cast

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.codec import encode_record, limit_of
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import DivergedError, FencedError
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    Record,
    RunPaused,
    SignalReceived,
    StepFinished,
    now_ms,
)
from playhead.runtime.core.segments import Encoded, compact
from playhead.runtime.core.session import BEGAN_STEP, BeganFrom
from playhead.runtime.core.signals import Signal
from playhead.runtime.host.course import Course
from playhead.runtime.host.forms import shown
from playhead.runtime.host.keys import key_part
from playhead.runtime.host.observed import Observed
from playhead.runtime.host.pipe import HandOver, Item, Pipe, Raised, Store
from playhead.runtime.host.raised import recorded
from playhead.runtime.host.retelling import Retelling
from playhead.runtime.host.thread import GuestThread

__all__ = ["ADVICE", "SCOPE", "Recorder"]

SCOPE: ContextVar[str] = ContextVar("playhead_scope", default="")
"""The lane of the tool call in whose body this code runs; empty outside of any. Keys of what it does begin with it."""

ADVICE: Final = (
    "The code of the agent has changed, or it decides by what is not in the log: a clock, a random number, a file. "
    "Take such a value through a step, which is computed once"
)
_WHOLE_RECORDS: Final = (MessageAdded, RunPaused, SignalReceived)  # the worker looks at them, so they are encoded there


class Recorder(Observed):
    """What one owner's guest goes through again, and what it adds.

    Attributes:
        run_id: The run.
        course: What the log has that the guest has not come to again.
        retelling: What parts of the run tell of work that is done again.
        limit: The size limit of one record, in bytes.
        cancelled: Whether a cancel is in force.
        when_cancelled: Called when it comes into force; None until the guest has begun, and signals then wait.
        ends_after_tools: Whether the guest ends by itself after the current tools, if a cancel asks for that.
        steers: The prompts that were sent to the running run, and that the guest has not taken.
        restated: The caller's values of the last response that had some and that the guest has come to; None for those of
            record 1.
        pause_result: What the result of a pause has besides its questions.
        differs: What is known to differ from the execution that wrote the log; empty if nothing is.
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
        self.run_id: str = run_id
        self.course: Course = course
        self.retelling: Retelling = Retelling()
        self.limit: int = limit
        self.cancelled: bool = False
        self.when_cancelled: Callable[[Cancel], object] | None = None
        self.ends_after_tools: bool = False
        self.steers: deque[Any] = deque()
        self.restated: dict[str, Any] | None = None
        self.pause_result: dict[str, Any] = {"stop_reason": "interrupt", "message": {}, "state": {}}
        self.differs: str = ""
        self._home: asyncio.AbstractEventLoop | None = None
        self._pipe = pipe
        self._ownership = ownership
        self._longest_wait = longest_wait
        self._thread = thread
        self._noted = False  # that the loop calls `on_idle`
        self._counts: Counter[str] = Counter()
        self._turns: list[tuple[int, int, asyncio.Future[None]]] = []
        self._to_begin: list[tuple[str, asyncio.Future[None]]] = []
        self._working = 0
        self._asked: dict[str, tuple[dict[str, Any], asyncio.Future[Any]]] = {}
        self._early: dict[str, Any] = {}  # responses to questions that the guest has not come to again
        self._sleepers: list[float] = []
        self._signals: deque[Signal] = deque()
        self._for_space: list[asyncio.Future[None]] = []
        self._leaving = False
        self._over = False  # nothing more is written by this owner
        self._closed = False  # and the guest is to end

    @property
    def replaying(self) -> bool:
        """Whether the log still has something that the guest has not come to again."""
        return self.course.left

    def key(self, kind: str, name: str = "") -> str:
        """A key that nothing else of the run has, the same in every execution: the scope, the kind, the name, a number."""
        first = f"{SCOPE.get()}/{kind}:{key_part(name)}"
        return self._unique(first) if name else f"{first}{self.number(first) + 1}"

    def lane(self, tool_use_id: str) -> str:
        """The lane of the next tool call with this id, which need not be unique."""
        return self._unique(f"{SCOPE.get()}/{key_part(tool_use_id)}")

    def _unique(self, first: str) -> str:
        before = self.number(first)
        return f"{first}~{before + 1}" if before else first

    def number(self, what: str) -> int:
        """How many there were of something before."""
        self._counts[what] += 1
        return self._counts[what] - 1

    # What is written.

    def put(self, record: Record) -> None:
        """Write a record.

        Raises:
            EncodingError, RecordTooLargeError: If it cannot be stored; nothing is written.
        """
        if isinstance(record, _WHOLE_RECORDS):
            self._send(record)
        else:
            self._send(Encoded(record, encode_record(record, limit=limit_of(record, self.limit))))

    def begins_from(self, began: BeganFrom) -> None:
        """Record which messages of its session the run began from, if the log does not tell."""
        if self.course.step(BEGAN_STEP) is None and not self.offline:
            self.put(StepFinished(at=now_ms(), key=BEGAN_STEP, value=began.value))

    def put_chunk(self, chunk: Chunk) -> None:
        """Write a chunk of a model."""
        self._send(compact(now_ms(), chunk))

    def put_step(self, record: StepFinished) -> StepFinished:
        """Write the end of a step; of a value that cannot be stored an error, because the step must not be done again."""
        try:
            self.put(record)
            return record
        except Exception as error:
            failed = StepFinished(at=record.at, key=record.key, error=recorded(error))
            self.put(failed)
            return failed

    def _send(self, item: Item) -> None:
        if not self._over:
            self._pipe.put(item)
            self._note()

    @property
    def crowded(self) -> bool:
        """Whether to wait for `space`."""
        return self._pipe.full

    async def space(self) -> None:
        """Wait while too many records wait for the log."""
        while self._pipe.full and not self._over and not self._elsewhere():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._for_space.append(waiting)
            self._pipe.flush()
            if self._pipe.full:  # else it was emptied in between, and nothing would wake this
                await waiting

    @property
    def waits_for_space(self) -> bool:
        """Whether to call `make_space` when records were taken. In any thread."""
        return bool(self._for_space)

    def make_space(self) -> None:
        """Wake what waits for space."""
        waiting, self._for_space = self._for_space, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def stored(self) -> None:
        """Wait until everything written so far is stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send(Store(stored))
        await stored

    async def emit(self, record: Record, *, same: Callable[[Any], bool], part: str = "") -> Any:
        """The next record of a lane: that of the log, if it has one, else `record`, which is then written.

        Signals that arrive while it waits for space come into force before it, here and in the log.

        `same` says of a record of that type whether it stands for this one. If it does not, the run fails, unless the record
        is of a part of the run in which work is done again: see `Retelling`.
        """
        lane = getattr(record, "lane", "")
        logged = self.course.next_event(lane)
        self._note()
        if logged is None:
            if not lane:
                self.apply_signals(before=math.inf)
            await self.put_all([record])
            return record
        self.apply_signals(before=logged.seq)
        if type(logged.record) is type(record) and same(logged.record):
            self.retelling.same(part, record)
            return logged.record
        again = self.retelling.other(part)
        if again is None and (retold := self.course.retold(logged, same)) is not None:
            return retold.record
        if again is None:
            await self.fail(self.diverged(f"gave {shown(record)}", logged))
        self.course.drop_events(lane)
        await self.put_all([*(again or ()), record])
        return record

    async def put_all(self, records: Iterable[Record]) -> None:
        """Write records, each when there is space."""
        for record in records:
            await self.space()
            self.put(record)

    async def fail(self, error: BaseException) -> None:
        """End the run with an error that the guest cannot catch. Does not return."""
        self._send(Raised(error))
        self._over = True
        await asyncio.get_running_loop().create_future()

    def diverged(self, did: str, logged: Entry) -> DivergedError:
        """The error of a guest that did something else than this record says."""
        error = DivergedError(
            f"run {self.run_id}: run again after a takeover, the agent {did}, but record {logged.seq} of the log is "
            f"{shown(logged.record)}. {self.differs or ADVICE}"
        )
        error.did, error.logged = did, logged
        return error

    def check_end(self) -> None:
        """Check that the guest has come to everything that the log has of it.

        Raises:
            DivergedError: If it has not.
        """
        missed = self.course.unasked() or self.course.event_left()
        if missed is not None and not self.cancelled:
            raise self.diverged("ended", missed)

    # What the guest waits for.

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
        self._to_begin.append((what, begins))
        try:
            await begins
        except asyncio.CancelledError:
            if begins.done() and not begins.cancelled():  # cancelled in the turn in which it was to begin
                self._working -= 1
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

    def _check_open(self) -> None:
        """Cancel a guest that goes on after its run was handed over or lost, or from its own clean-up."""
        if self._closed:
            raise asyncio.CancelledError

    def check_cancelled(self) -> None:
        """Cancel the guest again if a cancel is in force and it goes on nevertheless."""
        if self.cancelled:
            raise asyncio.CancelledError

    def at_home(self) -> None:
        """The guest begins on this event loop."""
        self._home = asyncio.get_running_loop()
        self._note()

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The guest's event loop."""
        assert self._home is not None
        return self._home

    def _elsewhere(self) -> bool:
        """Whether this is another event loop than the guest's own, which may be blocked until this is done."""
        return asyncio.get_running_loop() is not self._home

    # What comes from the worker.

    def receive(self, signals: Iterable[Signal]) -> None:
        """Signals have arrived. They count from a point at which the guest waits, so that it is the same when run again."""
        self._signals += signals
        self._note()
        if not self.course.left and not self._turns:
            self._take_signals()

    def leave(self) -> None:
        """Hand the run over as soon as nothing of it is at work."""
        self._leaving = True
        self._note()

    def close(self) -> None:
        """Write nothing more, and let nothing more begin. In any thread."""
        self._over = self._closed = True

    def _note(self) -> None:
        """Let the loop call `_on_idle`, because something has changed."""
        if not self._noted:
            self._noted = True
            self._thread.when_idle(self._on_idle)

    def _on_idle(self) -> bool:
        """Called when nothing on the loop is ready to run. Returns whether something is now."""
        self._noted = went_on = not self._over and (
            self._next_answer() or self._take_signals() or self._begin() or self._stand_still()
        )
        self._pipe.flush()
        return went_on

    def apply_signals(self, *, before: float = math.inf) -> None:
        """Let the signals that are in the log before that record come into force; all, at the end of a guest."""
        while (logged := self.course.signal(before=before)) is not None:
            self._apply(logged)

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

    def _take_signals(self) -> bool:
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

    def _begin(self) -> bool:
        self._to_begin = [one for one in self._to_begin if not one[1].done()]
        if self._leaving or not self._to_begin:
            return False
        missed = self.course.unasked()
        if missed is not None and len(self._thread.tasks) == len(self._to_begin):
            error = self.diverged(f"began {self._to_begin[0][0]}", missed)
            self._send(Raised(error))  # what waits stays so: no handler of the guest's sees it
            self._over = True
            return False
        waiting, self._to_begin = self._to_begin, []
        for _, begins in waiting:
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
