"""The result of a measurement: figures with their yardsticks, targets and the statistics of their rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

__all__ = [
    "Figure",
    "Target",
    "at_least",
    "at_most",
    "median",
    "of_rounds",
    "percentile",
    "ratio_at_least",
    "ratio_at_most",
]

Target = tuple[Literal["value", "ratio"], Literal["<=", ">="], float]
"""A bound on a figure's `value`, or on `value / yardstick`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        group: The measurement it belongs to.
        name: The measured quantity.
        value: The value, in `unit`; for several rounds, their median.
        yardstick: The cost of the same work without playhead, in the same unit, measured in the same run.
        yardstick_name: The yardstick's work, in words.
        target: The design's target.
        note: What a reader must know to interpret it.
        rounds: The value of each round, in order; empty if there was one.
        yardstick_rounds: The yardstick of each round: the n-th was measured with the n-th of `rounds`.
    """

    group: str
    name: str
    value: float
    unit: str
    yardstick: float | None = None
    yardstick_name: str = ""
    target: Target | None = None
    note: str = ""
    rounds: tuple[float, ...] = ()
    yardstick_rounds: tuple[float, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """`value / yardstick` of each round, because other load on the machine affects both in a round."""
        pairs = zip(self.rounds, self.yardstick_rounds, strict=False)
        return tuple(value / yardstick for value, yardstick in pairs if yardstick)

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`, or of the one round `value / yardstick`; None without a yardstick."""
        if self.ratios:
            return median(self.ratios)
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
        """Plain data, with the derived `ratio`, `ratios` and `met`."""
        return {**asdict(self), "ratio": self.ratio, "ratios": self.ratios, "met": self.met}

    def beside(
        self,
        rounds: Sequence[float],
        name: str,
        *,
        called: str = "",
        target: Target | None = None,
        note: str = "",
    ) -> Figure:
        """The same figure with a yardstick; `called` names it if it is an additional line.

        Args:
            rounds: The yardstick's rounds, in the order of the figure's own.
            name: The yardstick's work, in words.
            called: A suffix for the figure's name.
            target: A target for the ratio; it replaces the figure's own.
            note: What a reader must know to interpret it.
        """
        return replace(
            self,
            name=f"{self.name}, {called}" if called else self.name,
            yardstick=median(rounds),
            yardstick_name=name,
            yardstick_rounds=tuple(rounds),
            target=target,
            note=note,
        )


def of_rounds(
    group: str, name: str, rounds: Sequence[float], unit: str, *, target: Target | None = None, note: str = ""
) -> Figure:
    """A figure whose value is the median of its rounds, still without a yardstick."""
    return Figure(
        group=group, name=name, value=median(rounds), unit=unit, target=target, note=note, rounds=tuple(rounds)
    )


def at_most(bound: float) -> Target:
    """The value must not be over `bound`."""
    return ("value", "<=", bound)


def at_least(bound: float) -> Target:
    """The value must not be under `bound`."""
    return ("value", ">=", bound)


def ratio_at_most(bound: float) -> Target:
    """`value / yardstick` must not be over `bound`."""
    return ("ratio", "<=", bound)


def ratio_at_least(bound: float) -> Target:
    """`value / yardstick` must not be under `bound`."""
    return ("ratio", ">=", bound)


def median(values: Sequence[float]) -> float:
    """The median; raises StatisticsError for no values."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(len(ordered) * percent / 100) - 1))]
