"""Checkpoints in a worker, where a test can wait for the worker, hold it, or make it fail.

A worker without a `Visit` pays one comparison for each checkpoint; a single record passes none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock

__all__ = ["Checkpoint", "Checkpoints", "Visit"]


class Checkpoint(StrEnum):
    """The checkpoints of a worker."""

    CLAIMED = "claimed"
    """A run is claimed; its log is not read yet."""
    TOOLS_STORED = "tools stored"
    """The `tool.started` of one or more calls are stored; none of their bodies runs yet."""
    APPENDED = "appended"
    """A call has stored records of the run; no part of the worker knows it yet."""
    RENEWED = "renewed"
    """A renewal of all runs succeeded (no run id). On the renewing thread."""
    FINISHING = "finishing"
    """The run's end is about to be sent."""
    FINISHED = "finished"
    """The run's end is stored."""
    RELEASING = "releasing"
    """The run is about to be handed over."""
    RELEASED = "released"
    """The run is handed over."""
    PAUSING = "pausing"
    """The run is about to be paused."""
    PAUSED = "paused"
    """The run is paused and no longer owned by this worker."""
    LOST = "lost"
    """The run was lost, and all its work here is stopped."""


Visit = Callable[[Checkpoint, str], Awaitable[None]]
"""Called at each checkpoint with the run's id, by the task that reached it; it may wait, raise, or end the process."""


@dataclass(slots=True)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event
    place: Checkpoint
    run_id: str | None

    def wants(self, place: Checkpoint, run_id: str) -> bool:
        return self.place is place and self.run_id in (None, run_id)

    def wake(self) -> None:
        self.loop.call_soon_threadsafe(self.event.set)


@dataclass(slots=True)
class Checkpoints:
    """A `Visit` for tests in one process: `reached` waits for a checkpoint, and `hold` stops tasks there until `go_on`."""

    visits: list[tuple[Checkpoint, str]] = field(default_factory=list[tuple[Checkpoint, str]])
    _watching: list[_Waiter] = field(default_factory=list[_Waiter])
    _held: list[_Waiter] = field(default_factory=list[_Waiter])
    _holds: dict[Checkpoint, str | None] = field(default_factory=dict[Checkpoint, str | None])
    _lock: Lock = field(default_factory=Lock)  # renewals visit from their own thread

    async def __call__(self, place: Checkpoint, run_id: str) -> None:
        """Record the visit, and wait while the checkpoint is held."""
        with self._lock:
            self.visits.append((place, run_id))
            for waiter in [one for one in self._watching if one.wants(place, run_id)]:
                self._watching.remove(waiter)
                waiter.wake()
            if place not in self._holds or self._holds[place] not in (None, run_id):
                return
            held = _Waiter(asyncio.get_running_loop(), asyncio.Event(), place, run_id)
            self._held.append(held)
        await held.event.wait()

    def hold(self, place: Checkpoint, run_id: str | None = None) -> None:
        """From now on, hold every task that reaches `place`, with that run or with any."""
        with self._lock:
            self._holds[place] = run_id

    def go_on(self, place: Checkpoint) -> None:
        """Stop holding `place`, and release the tasks that wait there."""
        with self._lock:
            self._holds.pop(place, None)
            gone = [one for one in self._held if one.place is place]
            self._held = [one for one in self._held if one.place is not place]
        for one in gone:
            one.wake()

    async def reached(self, place: Checkpoint, run_id: str | None = None) -> None:
        """Wait until a task has reached `place`."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event(), place, run_id)
        with self._lock:
            if any(waiter.wants(*visit) for visit in self.visits):
                return
            self._watching.append(waiter)
        await waiter.event.wait()
