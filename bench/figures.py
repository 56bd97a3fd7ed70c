"""What a measurement gives: figures beside their yardsticks and targets, and the statistics behind them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Figure", "Sizes", "median", "percentile", "size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        group: The measurement it belongs to.
        name: What was measured.
        value: In `unit`.
        yardstick: What the same work costs without playhead, in the same unit, measured in the same run.
        yardstick_name: What the yardstick did.
        target: The bound of section 12 of the design, and what it bounds: `value`, or `value / yardstick`.
        note: What a reader must know to believe it.
    """

    group: str
    name: str
    value: float
    unit: str
    yardstick: float | None = None
    yardstick_name: str = ""
    target: tuple[Literal["value", "ratio"], Literal["<=", ">="], float] | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """`value / yardstick`, or None without a yardstick."""
        return self.value / self.yardstick if self.yardstick else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.target is None:
            return None
        what, relation, bound = self.target
        measured = self.ratio if what == "ratio" else self.value
        assert measured is not None, f"{self.name}: a bound on a ratio needs a yardstick"
        return measured <= bound if relation == "<=" else measured >= bound

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the derived `ratio` and `met`."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each measurement does. Seconds are wall time, rounds alternate with the yardstick's."""

    latency_rounds: int
    latency_s: float
    runs: int
    window_s: float
    windows: int
    loop_chunks: int
    loop_rounds: int
    tails: int
    tokens: int
    replay_records: int
    replay_rounds: int


SIZES = {
    "normal": Sizes(
        latency_rounds=5,
        latency_s=3.0,
        runs=1000,
        window_s=5.0,
        windows=3,
        loop_chunks=200_000,
        loop_rounds=3,
        tails=1000,
        tokens=20_000,
        replay_records=100_000,
        replay_rounds=3,
    ),
    "quick": Sizes(
        latency_rounds=2,
        latency_s=1.0,
        runs=1000,
        window_s=1.5,
        windows=1,
        loop_chunks=50_000,
        loop_rounds=1,
        tails=1000,
        tokens=5_000,
        replay_records=20_000,
        replay_rounds=2,
    ),
    "smoke": Sizes(
        latency_rounds=1,
        latency_s=0.2,
        runs=5,
        window_s=0.2,
        windows=1,
        loop_chunks=500,
        loop_rounds=1,
        tails=5,
        tokens=300,
        replay_records=300,
        replay_rounds=1,
    ),
}


def size(name: Literal["normal", "quick", "smoke"]) -> Sizes:
    """The preset of that name: `normal` takes about two minutes, `quick` half a minute, `smoke` measures nothing useful."""
    return SIZES[name]


def median(values: Sequence[float]) -> float:
    """The median; of nothing, an error."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(len(ordered) * percent / 100) - 1))]
