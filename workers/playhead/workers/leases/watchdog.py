"""The watchdog: distinguishes a busy event loop from a blocked one, and both from a stopped process.

The loop ticks. The code that renews leases looks, from its own thread if it has one. Each compares the time at which it
woke with the time at which it asked to wake: if only the loop is late, something blocked it; if both are late, the
process was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

__all__ = ["Stall", "Watchdog", "now_s"]

now_s: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds by a clock that is never set and, if the system has such a clock, includes the time of a machine's sleep."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A stall: its length in seconds, and when it ended, by `now_s`."""

    length_s: float
    over: float


class Watchdog:
    """Detects stalls of one worker. Both sides report every `every_s`; `stall_s` is how long a report may be late.

    Attributes:
        loop: The last stall of only the event loop that was longer than `every_s`.
        process: The last such stall of the whole process.
    """

    def __init__(self, *, every_s: float, stall_s: float) -> None:
        self.every_s = every_s
        self.stall_s = stall_s
        self.loop: Stall | None = None
        self.process: Stall | None = None
        self._ticked = now_s()
        self._looked: float | None = None  # stays None if leases are renewed on the event loop itself

    def tick(self) -> None:
        """Report that the event loop is alive; call it on the loop every `every_s`."""
        last, self._ticked = self._ticked, now_s()
        self.loop = self._stall_since(last, self._ticked) or self.loop

    def look(self) -> None:
        """Report that the other side is alive; call it every `every_s`, from any thread."""
        last, self._looked = self._looked, now_s()
        self.process = self._stall_since(last, self._looked) or self.process

    def stalled_s(self) -> float:
        """How long the event loop has been stuck, if that is longer than allowed; else 0.

        A stall of the whole process does not count, so that the loop can tick first after it.
        """
        since = self._ticked
        if self.process is not None:
            since = max(since, self.process.over)
        silent = now_s() - since
        return silent if silent > self.stall_s else 0.0

    def explain(self, *, since: float) -> str:
        """The stall that happened since then or is still going on, in words; empty if there was none."""
        process = self._longer(self.process, self._looked, since).length_s
        loop = self._longer(self.loop, self._ticked, since).length_s
        if loop > process + 2 * self.every_s:
            return f"the event loop was blocked for {loop:.1f} s"
        if process:
            return (
                f"this process was stopped for {process:.1f} s "
                "(it was suspended, or ran code that lets no other thread run)"
            )
        return ""

    def _longer(self, known: Stall | None, last: float | None, since: float) -> Stall:
        """The last known stall, or one that may not be over, because a stuck side may ask before it ticks again."""
        both = (known, self._stall_since(last, now_s()))
        return max((one for one in both if one and one.over > since), key=_length, default=Stall(0.0, 0.0))

    def _stall_since(self, last: float | None, now: float) -> Stall | None:
        if last is None or now - last < 2 * self.every_s:
            return None
        return Stall(now - last, now)


def _length(stall: Stall) -> float:
    return stall.length_s
