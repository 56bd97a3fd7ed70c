"""What a guest's thread gives to the worker's event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from anyio.lowlevel import RunVar

from playhead.runtime.core.segments import Encoded, Stored

__all__ = ["CAPACITY", "HandOver", "Item", "Pipe", "Raised", "Store"]

CAPACITY: Final = 256
"""How many records may wait; a guest that is faster than the log then waits at its next record."""


@dataclass(frozen=True, slots=True)
class Store:
    """Asks that everything before it is stored; `stored` gets its result on `loop`."""

    stored: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class HandOver:
    """The guest gets no further here: the run is to be handed over, and to wait for `rest` seconds."""

    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """The run fails with this error."""

    error: BaseException


_PAUSE_S: Final = 0.001
"""So long after a wake of the worker's loop no guest wakes it: it then looks by itself what has come. A wake is a system call
in each thread, and took half of the time of a guest that sends chunks in a burst, and of a hundred that send some."""

Item = Stored | Encoded | Store | HandOver | Raised


class _Waker:
    """Lets an event loop do something from other threads, all guests of it together."""

    def __init__(self) -> None:
        self._loop: Any = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._due: deque[Callable[[], object]] = deque()
        self._awake = False

    def wake(self, act: Callable[[], object]) -> None:
        """Call `act` on the loop: at once, or when the pause after the last wake is over. In any thread."""
        with self._lock:
            self._due.append(act)
            if self._awake:
                return
            self._awake = True
        with suppress(RuntimeError):  # the worker's loop is closed: nothing is written any longer
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        with self._lock:
            due, self._due = self._due, deque()
            self._awake = bool(due)
        for act in due:
            act()
        if due:
            self._loop.call_later(_PAUSE_S, self._answer)


_waker: RunVar[_Waker] = RunVar("playhead_waker")


def _waker_here() -> _Waker:
    """That of the running event loop."""
    waker = _waker.get(None)
    if waker is None:
        waker = _Waker()
        _waker.set(waker)
    return waker


class Pipe:
    """Items in their order, from any thread to the event loop on which it was made."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._waker = _waker_here()
        self._arrived = asyncio.Event()
        self._told = False
        self._told_at = -math.inf
        self.closed: bool = False

    @property
    def full(self) -> bool:
        """Whether the guest should wait."""
        return len(self._items) >= CAPACITY

    def put(self, item: Item) -> None:
        """Add an item; once the pipe is closed it is dropped. `flush` must follow. In any thread."""
        with self._lock:
            if self.closed:
                return
            self._items.append(item)
        if time.monotonic() - self._told_at > _PAUSE_S:
            self.flush()

    def flush(self) -> None:
        """Let `take` have what was put. In any thread."""
        with self._lock:
            if self._told or not self._items:
                return
            self._told = True
        self._told_at = time.monotonic()
        self._waker.wake(self._arrived.set)

    def wake(self) -> None:
        """Let `take` return. On the pipe's event loop."""
        self._arrived.set()

    def close(self) -> None:
        """Drop what is in it and what comes."""
        with self._lock:
            self.closed = True
            self._items.clear()

    async def take(self) -> list[Item]:
        """Wait for items and take all of them; none if it was only woken."""
        await self._arrived.wait()
        with self._lock:
            self._arrived.clear()
            self._told = False
            taken = list(self._items)
            self._items.clear()
        return taken
