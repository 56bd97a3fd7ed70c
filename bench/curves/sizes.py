"""The sizes of the curves, and how long each point is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FULL", "QUICK", "SMOKE", "CurveSizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSizes:
    """The sizes and durations of the curves.

    Attributes:
        runs, workers, tails, readers, records: The sizes, each a point.
        warm_s: Seconds a fleet streams before it is measured.
        window_s: Seconds in which it is measured.
        waiting_s: Seconds in which runs are held to measure the cost of holding them; at least two renewals of their leases.
    """

    runs: tuple[int, ...]
    workers: tuple[int, ...]
    tails: tuple[int, ...]
    readers: tuple[int, ...]
    records: tuple[int, ...]
    warm_s: float
    window_s: float
    waiting_s: float


FULL: Final = CurveSizes(
    runs=(1, 10, 100, 1000, 5000),
    workers=(1, 2, 4, 8),
    tails=(1, 10, 100, 1000, 10_000),
    readers=(1, 10, 100, 1000),
    records=(1000, 10_000, 100_000, 1_000_000),
    warm_s=1.5,
    window_s=4.0,
    waiting_s=7.0,
)
QUICK: Final = CurveSizes(
    runs=(1, 10, 100),
    workers=(1, 2, 4),
    tails=(1, 10, 100, 1000),
    readers=(1, 10, 100),
    records=(1000, 10_000),
    warm_s=0.5,
    window_s=1.0,
    waiting_s=3.5,
)
SMOKE: Final = CurveSizes(
    runs=(3,), workers=(2,), tails=(3,), readers=(3,), records=(300,), warm_s=0.1, window_s=0.3, waiting_s=0.2
)
