"""What reaches a running loop from outside: signals, and the flag that tools and model streams look at."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio.lowlevel

from playhead.runtime.log.base import Signal

__all__ = ["Control", "is_being_cancelled"]

T = TypeVar("T")


class Control:
    """The signals of one run that its loop has not taken in yet.

    Attributes:
        cancel_signal: Set as soon as a cancel has been delivered; tools may look at it from any thread.
        begin: Asked right before each tool body starts, on the body's thread, and before each model call; raises
            `FencedError` if the run may be another owner's by now, and it is not begun.
    """

    def __init__(self) -> None:
        self.cancel_signal = threading.Event()
        self.begin: Callable[[], None] = _freely
        self._signals: deque[Signal] = deque()
        self._stops: list[Callable[[], None]] = []
        self._seen: set[str] = set()
        self._waiting: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._cancelling = False

    @property
    def cancelling(self) -> bool:
        """A cancel is here that the loop has not taken: it breaks off what runs. Other signals wait for a boundary."""
        return self._cancelling

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
                self._cancelling = True
                for stop in list(self._stops):
                    stop()
        waiting = self._waiting
        if self._cancelling and waiting is not None and not self._interrupted and waiting is not asyncio.current_task():
            self._interrupted = True
            waiting.cancel()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Generator[None, None, None]:
        """Call `stop` when a cancel is delivered within the block, or at once if one is here already."""
        self._stops.append(stop)
        try:
            if self._cancelling:
                stop()
            yield
        finally:
            self._stops.remove(stop)

    def take(self) -> list[Signal]:
        """The undelivered signals, oldest first; they are the loop's now."""
        taken = list(self._signals)
        self._signals.clear()
        self._cancelling = False
        return taken

    async def next(self, source: AsyncIterator[T]) -> T | None:
        """The next item of `source`; None at its end, or when a cancel came first (then `cancelling` is true).

        A cancelled source is closed by the cancellation that goes through it.

        Raises:
            RuntimeError: The source ended by a cancellation that nobody asked for: of something it awaited. Let through,
                it would end whoever waits, and all that runs beside it.
            Exception: Whatever the source raises.

        Awaited for every chunk: asyncio's cancellation, counted as `asyncio.timeout` counts it, costs a tenth of an
        anyio scope, which took a quarter of a worker's time.
        """
        if self._cancelling:
            return None
        task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._waiting = task
        try:
            return await anext(source)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError as error:
            if not self._interrupted:
                if is_being_cancelled():
                    raise
                raise RuntimeError("the stream was cancelled from within, by something it awaited") from error
            if task.cancelling() > others + 1:  # somebody else cancelled in the same turn: one exception for both
                self._stop_waiting(task)
                await anyio.lowlevel.checkpoint_if_cancelled()  # anyio knows only the exceptions it raised itself
                raise
            return None
        finally:
            self._stop_waiting(task)

    def _stop_waiting(self, task: asyncio.Task[Any]) -> None:
        self._waiting = None
        if self._interrupted:
            self._interrupted = False
            task.uncancel()


def _freely() -> None:
    """In process nobody else can own a run."""


def is_being_cancelled() -> bool:
    """Whether somebody cancels this task: else a `CancelledError` is one that the code below was handed by others."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
