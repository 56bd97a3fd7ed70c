"""What reaches a running loop from outside: signals, and the flag that tools and model streams look at."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

import anyio

from playhead.runtime.log.base import Signal

__all__ = ["Control"]

T = TypeVar("T")


class Control:
    """The signals of one run that its loop has not taken in yet.

    Attributes:
        cancel_signal: Set as soon as a cancel has been delivered; tools may look at it from any thread.
    """

    def __init__(self) -> None:
        self.cancel_signal = threading.Event()
        self._signals: deque[Signal] = deque()
        self._seen: set[str] = set()
        self._scope: anyio.CancelScope | None = None

    @property
    def pending(self) -> bool:
        """There are signals the loop has not taken."""
        return bool(self._signals)

    def deliver(self, signals: Iterable[Signal]) -> None:
        """Hand signals to the loop, each id once; wakes it when it waits for a model. Call it on the loop's thread."""
        for signal in signals:
            if signal.signal_id in self._seen:
                continue
            self._seen.add(signal.signal_id)
            self._signals.append(signal)
            if signal.kind == "cancel":
                self.cancel_signal.set()
        if self._signals and self._scope is not None:
            self._scope.cancel()

    def take(self) -> list[Signal]:
        """The undelivered signals, oldest first; they are the loop's now."""
        taken = list(self._signals)
        self._signals.clear()
        return taken

    async def next(self, source: AsyncIterator[T]) -> T | None:
        """The next item of `source`; None at its end, or when a signal came first (then `pending` is true).

        The scope lives within one call, never across a `yield` of the caller (PEP 789). A cancelled source is closed
        by the cancellation that goes through it.
        """
        if self._signals:
            return None
        with anyio.CancelScope() as self._scope:
            try:
                return await anext(source)
            except StopAsyncIteration:
                return None
            finally:
                self._scope = None
        return None
