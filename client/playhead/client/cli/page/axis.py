"""The time axis of a picture: long waits are drawn shorter than they were, so that the rest stays visible. Pure."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Final

from playhead.runtime.core.timeline import Bar, Timeline

__all__ = ["Axis"]

_SHARE: Final = 4
"""The longest wait that is drawn, as a part of the time in which something was done."""


class Axis:
    """Maps each time to a place between 0 and 1.

    Attributes:
        points: Times and their places; between two of them the places grow linearly.
    """

    def __init__(self, timeline: Timeline) -> None:
        waits = [(bar.began, bar.ended) for bar in timeline.bars if _is_wait(bar) and bar.took_ms > 0]
        busy = timeline.ended - timeline.began - sum(ended - began for began, ended in waits)
        self._longest = busy / _SHARE if busy > 0 else float("inf")
        times = sorted({timeline.began, timeline.ended, *(time for wait in waits for time in wait)})
        drawn = [0.0]
        for began, ended in pairwise(times):
            length = float(ended - began)
            drawn.append(drawn[-1] + (min(length, self._longest) if (began, ended) in waits else length))
        whole = drawn[-1] or 1.0
        self.points: list[tuple[int, float]] = [(time, place / whole) for time, place in zip(times, drawn, strict=True)]
        self._times = times

    def place(self, at: int) -> float:
        """The place of a time, from 0 to 1."""
        index = min(max(bisect_right(self._times, at) - 1, 0), max(len(self.points) - 2, 0))
        (began, first), (ended, last) = self.points[index], self.points[min(index + 1, len(self.points) - 1)]
        return first if ended == began else first + (at - began) / (ended - began) * (last - first)

    def is_cut(self, bar: Bar) -> bool:
        """Whether a bar is drawn shorter than it was."""
        return _is_wait(bar) and bar.took_ms > self._longest


def _is_wait(bar: Bar) -> bool:
    return bar.kind not in ("model", "tool")
