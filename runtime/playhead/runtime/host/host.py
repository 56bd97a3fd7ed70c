"""`Host`: runs a guest for one ownership of one run, in a thread, and yields the records that it adds to the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from itertools import takewhile
from typing import Any, Final

import anyio

from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.evolve import evolve, fold
from playhead.runtime.core.failures import failure
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    Record,
    RunCancelled,
    RunCompleted,
    RunPaused,
    SignalReceived,
    now_ms,
)
from playhead.runtime.core.segments import Encoded, Stored, changes_state, record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import CANCELLED_TEXT
from playhead.runtime.host.course import Course
from playhead.runtime.host.guest import Guest, Visit
from playhead.runtime.host.pipe import HandOver, Item, Pipe, Raised, Store
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.host.thread import GuestThread
from playhead.runtime.loop.runner import Opening
from playhead.runtime.loop.spec import FLUSH, LoopOutput

__all__ = ["CANCEL_GRACE_S", "CLOSE_GRACE_S", "GuestTarget", "Host"]

logger: logging.Logger = logging.getLogger(__name__)

CANCEL_GRACE_S: Final = 10.0
"""How long a guest may take to end after a cancel. Then the run ends without it, because a caller waits for that."""

CLOSE_GRACE_S: Final = 2.0
"""How long a guest may take to clean up when its run is handed over or lost. Then its thread is left to itself."""

_ENDS: Final = TERMINAL_TYPES | {"run.paused"}


class Host:
    """One ownership of one run of a guest: a `Runner`.

    Attributes:
        state: The fold of all records yielded so far.
        head: The `seq` of the last record yielded.
        error: The exception with which the guest failed, or None.
        rest: The seconds for which the guest sleeps, when `records` ended for that.
        ending: Always False: the end of a guest is known only by its record.

    `recorder` makes the guest's side: another one than `Recorder` lets the guest run again for another purpose.
    """

    ending: bool = False

    def __init__(self, guest: Guest, opening: Opening, *, recorder: Callable[..., Recorder] = Recorder) -> None:
        self._guest = guest
        self._make_recorder = recorder
        self._opening = opening
        self._control = opening.control
        self.state: RunState = fold(opening.entries, history=opening.said.messages)
        self.head: int = opening.head
        self.error: Exception | None = None
        self.rest: float = 0.0
        self._pipe: Pipe | None = None
        self._received: set[str] = set()  # the ids of the signals that are records
        self._delivered: list[Signal] = []
        self._recorder: Recorder | None = None
        self._thread: GuestThread | None = None
        self._ends_by: float | None = None  # the time until which the guest may end after a cancel

    @property
    def course(self) -> Course:
        """What the guest has not come to again."""
        return self._recorder.course if self._recorder is not None else Course([])

    async def records(self) -> AsyncGenerator[LoopOutput, None]:
        """Yield the records of the guest until it ends, pauses, or is to be handed over."""
        thread, recorder, pipe = self._made()
        ownership = self._opening.ownership
        with self._control.when_delivered(self._pass_on), ownership.when_leaving(lambda: thread.call(recorder.leave)):
            thread.start()
            try:
                while True:
                    for item in await self._taken(pipe):
                        match item:
                            case HandOver(rest):
                                self.rest = rest
                                return
                            case Store(stored):
                                yield FLUSH
                                _settle(stored)
                            case _:
                                made = self._failed(item.error) if isinstance(item, Raised) else item
                                for output in self._before_end(made):
                                    yield self._counted(output)
                                yield self._counted(made)
                                if isinstance(made, Record) and made.type in _ENDS:
                                    return
                    if recorder.waits_for_space:
                        thread.call(recorder.make_space)
            finally:
                await self._close(thread, recorder, pipe)
                self._control.put_back(self._left())

    def _made(self) -> tuple[GuestThread, Recorder, Pipe]:
        opening = self._opening
        pipe = self._pipe = Pipe()
        thread = self._thread = GuestThread(
            f"guest of run {opening.run_id}",
            main=lambda: self._drive(visit),
            ended=lambda error: _end(pipe, error),
            shared=self._guest.shares_loop,
        )
        recorder = self._recorder = self._make_recorder(
            opening.run_id,
            course=Course(opening.entries),
            pipe=pipe,
            ownership=opening.ownership,
            limit=self._guest.max_record_bytes,
            longest_wait=opening.longest_wait,
            thread=thread,
        )
        visit = Visit(recorder, opening)
        return thread, recorder, pipe

    async def _drive(self, visit: Visit) -> None:
        """In the guest's thread: run the guest, and give its terminal record."""
        recorder = visit.recorder
        assert self._thread is not None
        assert self._pipe is not None
        thread = self._thread
        recorder.at_home()
        recorder.when_cancelled = lambda cancel: thread.cancel_here() if visit.cancel is None else visit.cancel(cancel)
        if visit.submitted.session is not None:
            recorder.begins_from(visit.said.began_from)
        try:
            record = await self._guest.drive(visit)
            recorder.check_end()
        except asyncio.CancelledError:
            if not recorder.cancelled:
                raise
            record = _cancelled()
        except Exception as error:
            if (
                not recorder.course.cancels
            ):  # else the log has a cancel before this, which came where the guest did not wait
                self._pipe.put(Raised(error))
                return
            record = _cancelled()
        self.error = visit.error
        self._pipe.put(record)
        self._pipe.flush()

    async def _taken(self, pipe: Pipe) -> list[Item]:
        """The next items; those that end the run if a cancel came into force long ago and the guest goes on."""
        if self._ends_by is None:
            return await pipe.take()
        if anyio.current_time() < self._ends_by:
            with anyio.move_on_at(self._ends_by):
                return await pipe.take()
        pipe.close()
        logger.warning(
            "run %s is cancelled, and its agent %s does not end within %g s: it is left to itself",
            self._opening.run_id,
            self._guest.name,
            CANCEL_GRACE_S,
        )
        return [_cancelled()]

    def _before_end(self, made: Stored | Encoded) -> list[Record]:
        """The records of signals that the guest had no chance to take before this end of the run.

        None is of a prompt. The log completes no run for which one waits: it is left to the guest, which runs again and gets it. A
        prompt that waits when a run fails or is cancelled becomes a run of its own, if it was sent to the session.
        """
        match made:
            case RunCompleted():
                return [one.received(at=now_ms()) for one in takewhile(lambda one: one.kind != "steer", self._left())]
            case RunCancelled():
                left = self._left()
                cancels = [place for place, one in enumerate(left, 1) if one.kind == "cancel"]
                return [one.received(at=now_ms()) for one in left[: max(cancels, default=0)]]
            case _:
                return []

    def _left(self) -> list[Signal]:
        """The signals that were delivered and are not records."""
        return [one for one in self._delivered if one.signal_id not in self._received]

    def _failed(self, error: BaseException) -> Record:
        """The end of a run whose guest raised.

        Raises:
            FencedError: If that is it: then the run is no longer this owner's to end.
        """
        if isinstance(error, FencedError):
            raise error
        self.error = error if isinstance(error, Exception) else None
        return failure(error, force_stop=False)

    def _counted(self, item: Stored | Encoded) -> Stored | Encoded:
        if isinstance(item, RunCompleted | RunCancelled | RunPaused):
            item = item.model_copy(update={"result": {**item.result, "metrics": self._metrics(item.result)}})
        self.head += 1
        if changes_state(item):
            record = record_of(item)
            if isinstance(record, SignalReceived):
                self._received.add(record.signal_id)
            self.state = evolve(self.state, Entry(self.head, self._opening.epoch, record))
        return item

    def _metrics(self, result: dict[str, Any]) -> dict[str, Any]:
        """Those of the run: counted from the log where the guest does not give them, since it may have run in part only."""
        totals = self.state.totals
        counted = {"cycles": self.state.cycle, "usage": dict(totals.usage), "latency_ms": totals.latency_ms}
        return {
            **counted,
            **result.get("metrics", {}),
            "tools": {name: dict(one) for name, one in totals.tools.items()},
        }

    def _pass_on(self) -> None:
        """Signals were delivered: give them to the guest."""
        signals = self._control.take()
        self._delivered += signals
        if not signals or self._thread is None or self._recorder is None or self._pipe is None:
            return
        self._thread.call(self._recorder.receive, signals)
        if self._ends_by is None and self._control.cancel_signal.is_set():
            self._ends_by = anyio.current_time() + CANCEL_GRACE_S
            self._pipe.wake()

    async def _close(self, thread: GuestThread, recorder: Recorder, pipe: Pipe) -> None:
        """End the guest's thread. What it still gives is not part of this ownership."""
        recorder.close()
        pipe.close()
        thread.cancel()
        with anyio.move_on_after(CLOSE_GRACE_S, shield=True):
            await thread.ended()
        if thread.alive:
            logger.warning(
                "the agent %s of run %s does not end: its thread is left to itself",
                self._guest.name,
                self._opening.run_id,
            )


class GuestTarget:
    """A guest as the `Target` of a run."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    @property
    def max_record_bytes(self) -> int:
        """The size limit of one record, in bytes."""
        return self._guest.max_record_bytes

    def open(self, opening: Opening) -> Host:
        """Make the host that runs the guest again over these records, and then on."""
        return Host(self._guest, opening)


def _settle(future: asyncio.Future[None]) -> None:
    """Give a future of a guest its result, on the loop where it is waited for: a guest may have loops in further threads."""

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    with suppress(RuntimeError):  # that loop is closed
        future.get_loop().call_soon_threadsafe(settle)


def _end(pipe: Pipe, error: BaseException | None) -> None:
    """The guest's thread has ended; what it gave last is the run's end, unless it gave none."""
    pipe.put(Raised(error or RuntimeError("the guest ended without a result")))
    pipe.flush()


def _cancelled() -> RunCancelled:
    message = {"role": "assistant", "content": [{"text": CANCELLED_TEXT}]}
    return RunCancelled(at=now_ms(), result={"stop_reason": "cancelled", "message": message, "state": {}})
