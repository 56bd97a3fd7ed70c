"""The input of a running loop: signals, the cancel flag for tools, and the end of a wait for a model."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio.lowlevel

from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.signals import Signal

__all__ = ["Control", "ModelWait", "breaking_off"]


class Control:
    """The signals of one run that its loop has not received yet.

    Attributes:
        cancel_signal: Set as soon as a cancel is delivered; tools may read it from any thread.
        cancelling: Whether a cancel is delivered that the loop has not received. It breaks off running work; other
            signals wait for a boundary.
    """

    def __init__(self) -> None:
        self.cancel_signal: threading.Event = threading.Event()
        self._signals: deque[Signal] = deque()
        self._stops: list[Callable[[], None]] = []
        self._receivers: list[Callable[[], None]] = []
        self._seen: set[str] = set()
        self.cancelling: bool = False

    def deliver(self, signals: Iterable[Signal]) -> None:
        """Deliver signals to the loop, each id once. A cancel ends its wait for a model and stops running tools.

        Call it on the loop's thread.
        """
        for signal in signals:
            if signal.signal_id in self._seen:
                continue
            self._seen.add(signal.signal_id)
            self._signals.append(signal)
            if signal.breaks_off:
                self.cancel_signal.set()
                self.cancelling = True
                for stop in list(self._stops):
                    stop()
        for act in list(self._receivers):
            act()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Generator[None, None, None]:
        """Call `stop` when a cancel is delivered within the block, or at once if one is already delivered."""
        self._stops.append(stop)
        try:
            if self.cancelling:
                stop()
            yield
        finally:
            self._stops.remove(stop)

    @contextmanager
    def when_delivered(self, act: Callable[[], None]) -> Generator[None, None, None]:
        """Call `act` when signals are delivered within the block, or at once if some were; it may `take` them."""
        self._receivers.append(act)
        try:
            if self._signals:
                act()
            yield
        finally:
            self._receivers.remove(act)

    def take(self) -> list[Signal]:
        """Remove and return the signals that the loop has not received, oldest first."""
        taken = list(self._signals)
        self._signals.clear()
        self.cancelling = False
        return taken

    def put_back(self, signals: Sequence[Signal]) -> None:
        """Let the next loop of this run take signals that this one took and has not received."""
        self._signals.extendleft(reversed(signals))
        self.cancelling = any(one.breaks_off for one in self._signals)


class ModelWait:
    """The waits for one source that a cancel may break off; made by `breaking_off`."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self._pinned = task
        self._loop = asyncio.get_running_loop()  # looked up once: on Python 3.11 each look-up is a system call
        self._waiting: asyncio.Task[Any] | None = None
        self._others = 0  # cancellations of the waiting task from before the wait
        self._interrupted = False

    def resume(self) -> None:
        """Start a wait of the current task."""
        task = self._pinned or asyncio.current_task(self._loop)
        assert task is not None
        self._others = task.cancelling()
        self._waiting = task

    def pause(self) -> None:
        """End the wait."""
        task, self._waiting = self._waiting, None
        if self._interrupted and task is not None:
            self._interrupted = False
            task.uncancel()

    def interrupt(self) -> None:
        """Break off the wait, if there is one; called when a cancel is delivered."""
        waiting = self._waiting
        if waiting is not None and not self._interrupted and waiting is not asyncio.current_task():
            self._interrupted = True
            waiting.cancel()

    @property
    def interrupted(self) -> bool:
        """Whether the wait is being broken off."""
        return self._interrupted

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether another cancellation of the waiting task arrived since the wait began."""
        return self._waiting is not None and self._waiting.cancelling() > self._others + self._interrupted


@asynccontextmanager
async def breaking_off(control: Control, *, task: asyncio.Task[Any] | None = None) -> AsyncGenerator[ModelWait, None]:
    """Let a cancel break off only the waits for a source within the block:

        async with breaking_off(control) as wait:
            async for item in source:
                wait.pause()
                ...  # work here is not broken off
                wait.resume()

    A cancel that breaks off a wait ends the block without an error; afterwards `control.cancelling` is true. The
    cancellation goes through the source and closes it, and does not stay pending in the task. It is asyncio's own,
    counted as `asyncio.timeout` counts: an anyio cancel scope for every chunk took a quarter of a worker's time.

    Args:
        control: Where cancels are delivered.
        task: The task that runs the whole block; None if a generator's consumer may take each item in another task, as
            `asyncio.wait_for` does on Python 3.11. Then the task is looked up each time, which takes 0.1 µs.

    Raises:
        RuntimeError: If the source ended with a cancellation that this block did not request, of something that it
            awaited. Raised unchanged, it would end the task and everything that runs in it.
        CancelledError: If the task is cancelled from outside, perhaps in the same turn as by the cancel.
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
