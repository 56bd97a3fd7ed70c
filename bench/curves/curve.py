"""A curve: the figures at each size and the machine they were measured on, in a small JSON file. Pure except for
reading and writing that file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "Curve", "Point", "flat_from", "load", "rises_from", "save"]

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "curves"
"""The folder of the documentation's curves."""

Point = Mapping[str, float]
"""The figures at one size, by name; the size is one of them."""

_BEND: Final = 1.5
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The figures at growing sizes.

    Attributes:
        name: The name of the curve, and of its sizes: `runs`, `tails`, `readers`, `records`.
        machine: The machine and the versions that the figures depend on.
        points: The figures, by growing size.
    """

    name: str
    machine: Mapping[str, str]
    points: Sequence[Point]

    def of(self, key: str) -> list[tuple[float, float]]:
        """The (size, value) pairs of one figure."""
        return [(point[self.name], point[key]) for point in self.points]


def flat_from(values: Sequence[tuple[float, float]]) -> float:
    """The smallest size at which a cost is within half of its minimum: fixed costs are spread out by then."""
    least = min(value for _, value in values)
    return next(size for size, value in values if value <= _BEND * least)


def rises_from(values: Sequence[tuple[float, float]]) -> float | None:
    """The smallest size at which a cost stays over 1.5 times its minimum at smaller sizes; None if it never does.

    Sizes differ tenfold, so the bend is between that size and the one before it.
    """
    found: float | None = None
    for place in range(1, len(values)):
        size, value = values[place]
        least = min(before for _, before in values[:place])
        if value <= _BEND * least:
            found = None
        elif found is None:
            found = size
    return found


def save(curve: Curve, folder: Path = FOLDER) -> Path:
    """Write it to `<name>.json`, each figure to four digits; returns the file's path."""
    points = [{key: _rounded(value) for key, value in point.items()} for point in curve.points]
    lines = ",\n".join(f"    {json.dumps(point)}" for point in points)
    machine = json.dumps(dict(curve.machine), indent=2).replace("\n", "\n  ")
    path = folder / f"{curve.name}.json"
    path.write_text(f'{{\n  "machine": {machine},\n  "points": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
    return path


def _rounded(value: float) -> float:
    return int(value) if float(value).is_integer() else float(f"{value:.{_DIGITS}g}")


def load(name: str, folder: Path = FOLDER) -> Curve:
    """Read it back.

    Raises:
        FileNotFoundError: If it has not been measured yet; run `python -m bench.curves`.
    """
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Curve(name=name, machine=told["machine"], points=told["points"])
