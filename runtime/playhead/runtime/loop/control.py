"""What reaches a running loop from outside: signals, the flag that tools look at, and the end of a wait for a model."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio.lowlevel

from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.signals import Signal

__all__ = ["Control", "ModelWait", "breaking_off"]


class Control:
    """The signals of one run that its loop has not taken in yet.

    Attributes:
        cancel_signal: Set as soon as a cancel has been delivered; tools may look at it from any thread.
        cancelling: A cancel is here that the loop has not taken: it breaks off what runs. Other signals wait for a
            boundary.
    """

    def __init__(self) -> None:
        self.cancel_signal: threading.Event = threading.Event()
        self._signals: deque[Signal] = deque()
        self._stops: list[Callable[[], None]] = []
        self._seen: set[str] = set()
        self.cancelling: bool = False

    def deliver(self, signals: Iterable[Signal]) -> None:
        """Hand signals to the loop, each id once; a cancel ends its wait for a model, and stops the tools that run.

        Call it on the loop's thread.
        """
        for signal in signals:
            if signal.signal_id in self._seen:
                continue
            self._seen.add(signal.signal_id)
            self._signals.append(signal)
            if signal.kind == "cancel":
                self.cancel_signal.set()
                self.cancelling = True
                for stop in list(self._stops):
                    stop()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Generator[None, None, None]:
        """Call `stop` when a cancel is delivered within the block, or at once if one is here already."""
        self._stops.append(stop)
        try:
            if self.cancelling:
                stop()
            yield
        finally:
            self._stops.remove(stop)

    def take(self) -> list[Signal]:
        """The undelivered signals, oldest first; they are the loop's now."""
        taken = list(self._signals)
        self._signals.clear()
        self.cancelling = False
        return taken


class ModelWait:
    """The waits for one source that a cancel may break off; made by `breaking_off`."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self._pinned = task
        self._loop = asyncio.get_running_loop()  # asked for once: on Python 3.11 that is a call of the system each time
        self._waiting: asyncio.Task[Any] | None = None
        self._others = 0  # cancellations of the waiting task that were there before the wait
        self._interrupted = False

    def resume(self) -> None:
        """The task waits from here on."""
        task = self._pinned or asyncio.current_task(self._loop)
        assert task is not None
        self._others = task.cancelling()
        self._waiting = task

    def pause(self) -> None:
        """The wait is over."""
        task, self._waiting = self._waiting, None
        if self._interrupted and task is not None:
            self._interrupted = False
            task.uncancel()

    def interrupt(self) -> None:
        """Break the wait off, if there is one; called when a cancel is delivered."""
        waiting = self._waiting
        if waiting is not None and not self._interrupted and waiting is not asyncio.current_task():
            self._interrupted = True
            waiting.cancel()

    @property
    def interrupted(self) -> bool:
        """The wait is being broken off."""
        return self._interrupted

    @property
    def cancelled_from_outside(self) -> bool:
        """Others cancelled the waiting task, too, since the wait began."""
        return self._waiting is not None and self._waiting.cancelling() > self._others + self._interrupted


@asynccontextmanager
async def breaking_off(control: Control, *, task: asyncio.Task[Any] | None = None) -> AsyncGenerator[ModelWait, None]:
    """A block in which a cancel breaks off the waits for a source, and nothing else:

        async with breaking_off(control) as wait:
            async for item in source:
                wait.pause()
                ...  # what is done here is not broken off
                wait.resume()

    A cancel that breaks off a wait ends the block without an error; `control.cancelling` is true behind it. Its
    cancellation goes through the source, which is closed by it, and leaves nothing behind in the task. It is asyncio's,
    counted as `asyncio.timeout` counts it: a cancel scope of anyio for every chunk took a quarter of a worker's time.

    Args:
        control: Where the cancel is delivered.
        task: The task that makes all steps in the block; None where a generator's consumer may make each from a task of
            its own, as `asyncio.wait_for` does on Python 3.11. Then it is asked for each time, which takes 0.1 µs.

    Raises:
        RuntimeError: The source ended by a cancellation of something that it awaited, which nothing here had asked for. Let
            through, it would end the task above, and all that runs beside it.
        CancelledError: The task is cancelled from outside, perhaps in the same turn as by the cancel.
    """
    wait = ModelWait(task)
    with control.stopping(wait.interrupt):
        wait.resume()
        try:
            yield wait
        except asyncio.CancelledError as error:
            interrupted, others_too = wait.interrupted, wait.cancelled_from_outside
            wait.pause()
            if not interrupted:
                if is_being_cancelled():
                    raise
                raise RuntimeError("the stream was cancelled from within, by something it awaited") from error
            if others_too:  # one exception for both
                await anyio.lowlevel.checkpoint_if_cancelled()  # anyio knows only the exceptions it raised itself
                raise
        finally:
            wait.pause()
