"""Named places in a worker, for tests that wait for one, hold the worker there, or break it there.

A worker is made without any, and then each place costs one comparison; none lies on the path of a single record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock

__all__ = ["Checkpoint", "Checkpoints", "Visit"]


class Checkpoint(StrEnum):
    """Where a worker may be."""

    CLAIMED = "claimed"
    """A run is ours; its log is not read yet."""
    TOOLS_STORED = "tools stored"
    """The `tool.started` of one or more calls are stored; no body of theirs runs yet."""
    APPENDED = "appended"
    """A call has stored records of the run; nobody here knows yet."""
    RENEWED = "renewed"
    """A renewal of all runs went through (no run id). On the thread that renews."""
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
    """The run is paused, and no longer ours."""
    LOST = "lost"
    """The run was lost, and everything of it is stopped here."""


Visit = Callable[[Checkpoint, str], Awaitable[None]]
"""Called at each place, with the run's id, by the task that is there; it may wait, raise, or end the process."""


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
    """A `Visit` for tests in one process: `reached` waits for a place, `hold` keeps who comes there until `let_go`."""

    visits: list[tuple[Checkpoint, str]] = field(default_factory=list[tuple[Checkpoint, str]])
    _watching: list[_Waiter] = field(default_factory=list[_Waiter])
    _held: list[_Waiter] = field(default_factory=list[_Waiter])
    _holds: dict[Checkpoint, str | None] = field(default_factory=dict[Checkpoint, str | None])
    _lock: Lock = field(default_factory=Lock)  # renewals visit from their own thread

    async def __call__(self, place: Checkpoint, run_id: str) -> None:
        """Be there."""
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
        """From now on keep whoever comes there, with that run or with any."""
        with self._lock:
            self._holds[place] = run_id

    def go_on(self, place: Checkpoint) -> None:
        """Keep nobody there any more."""
        with self._lock:
            self._holds.pop(place, None)
            gone = [one for one in self._held if one.place is place]
            self._held = [one for one in self._held if one.place is not place]
        for one in gone:
            one.wake()

    async def reached(self, place: Checkpoint, run_id: str | None = None) -> None:
        """Wait until somebody is or was there."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event(), place, run_id)
        with self._lock:
            if any(waiter.wants(*visit) for visit in self.visits):
                return
            self._watching.append(waiter)
        await waiter.event.wait()
