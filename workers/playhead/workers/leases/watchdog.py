"""Whether this process and its event loop get on: tells a busy loop from a stuck one, and both from a stopped process.

The loop ticks; whoever renews leases looks, from a thread of its own where there is one. Each knows how much later it
woke than it had asked to: the loop alone late means that something blocked it, both late that the process stood still.
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
"""Seconds by a clock that nobody sets; where the system has such a clock, it counts a machine's sleep too."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A time without a sign of life, in seconds, and when it was over, by `now_s`."""

    length_s: float
    over: float


class Watchdog:
    """The signs of life of one worker; `every_s` is how often each side gives one, `stall_s` how long one may be missing.

    Attributes:
        loop: The last time the event loop alone stood still for longer than `every_s`.
        process: The last time the whole process did.
    """

    def __init__(self, *, every_s: float, stall_s: float) -> None:
        self.every_s = every_s
        self.stall_s = stall_s
        self.loop: Stall | None = None
        self.process: Stall | None = None
        self._ticked = now_s()
        self._looked: float | None = None  # nobody looks where leases are renewed on the event loop itself

    def tick(self) -> None:
        """Give the event loop's sign of life; to be called on it every `every_s`."""
        last, self._ticked = self._ticked, now_s()
        self.loop = self._stall_since(last, self._ticked) or self.loop

    def look(self) -> None:
        """Give the other side's sign of life; to be called every `every_s`, from any thread."""
        last, self._looked = self._looked, now_s()
        self.process = self._stall_since(last, self._looked) or self.process

    def stalled_s(self) -> float:
        """For how long the event loop has been stuck, once that is longer than it may; else 0.

        A time in which the whole process stood still is nobody's stall: the loop gets its chance to tick first.
        """
        since = self._ticked
        if self.process is not None:
            since = max(since, self.process.over)
        silent = now_s() - since
        return silent if silent > self.stall_s else 0.0

    def explain(self, *, since: float) -> str:
        """What stood still since then, or still does, in words; empty if nothing did."""
        process = self._longer(self.process, self._looked, since).length_s
        loop = self._longer(self.loop, self._ticked, since).length_s
        if loop > process + 2 * self.every_s:
            return f"the event loop was blocked for {loop:.1f} s"
        if process:
            return (
                f"this process stood still for {process:.1f} s "
                "(it was stopped, or ran code that lets no other thread run)"
            )
        return ""

    def _longer(self, known: Stall | None, last: float | None, since: float) -> Stall:
        """The standstill known of or the one that may not be over; whoever was stuck may ask before it ticks again."""
        both = (known, self._stall_since(last, now_s()))
        return max((one for one in both if one and one.over > since), key=_length, default=Stall(0.0, 0.0))

    def _stall_since(self, last: float | None, now: float) -> Stall | None:
        if last is None or now - last < 2 * self.every_s:
            return None
        return Stall(now - last, now)


def _length(stall: Stall) -> float:
    return stall.length_s
