"""The table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.figures import Figure

__all__ = ["print_json", "print_table", "spread"]

_WIDTH: Final = 132
"""The table's maximum width; a narrow terminal wraps its lines and loses no column."""


def print_json(machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """One JSON object on standard output."""
    print(json.dumps({"machine": dict(machine), "figures": [figure.as_json() for figure in figures]}, indent=2))


def print_table(
    machine: Mapping[str, str], figures: Sequence[Figure], *, title: str = "playhead, measured on this machine"
) -> None:
    """A table for people, and below it the notes of the figures.

    Figures of several rounds show their median, then the minimum and the maximum; a ratio is computed per round.
    """
    console = Console(highlight=False)
    console.width = max(console.width, _WIDTH)
    for name, value in machine.items():
        console.print(f"[dim]{name:>9}[/] {value}")
    in_rounds = any(len(figure.rounds) > 1 for figure in figures)
    table = _empty_table(title, in_rounds=in_rounds)
    group = ""
    for figure in figures:
        if figure.group != group:
            table.add_section()
            table.add_row(f"[bold]{figure.group}[/]")
        group = figure.group
        table.add_row(*(text for name, text in _cells(figure).items() if in_rounds or name != "spread"))
    console.print(table)
    for figure in figures:
        notes = [figure.note] if figure.note else []
        notes += [f"yardstick: {figure.yardstick_name}"] if figure.yardstick_name else []
        if notes:
            console.print(f"[dim]{figure.group}, {figure.name}: {'; '.join(notes)}[/]")


def _empty_table(title: str, *, in_rounds: bool) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("what", no_wrap=True)
    for column in ("measured", *(["min-max"] if in_rounds else []), "yardstick", "ratio", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    return table


def _cells(figure: Figure) -> dict[str, str]:
    return {
        "what": figure.name,
        "measured": _with_unit(figure.value, figure.unit),
        "spread": spread(figure.rounds),
        "yardstick": "" if figure.yardstick is None else _with_unit(figure.yardstick, figure.unit),
        "ratio": _ratio(figure),
        "target": _target(figure),
        "met": {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met],
    }


def spread(values: Sequence[float]) -> str:
    """The minimum and maximum of several rounds, `3.9-4.4`; empty for one round."""
    return f"{_number(min(values))}-{_number(max(values))}" if len(values) > 1 else ""


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    several = spread(figure.ratios)
    return f"{figure.ratio:.2f} ({several})" if several else f"{figure.ratio:.2f}"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    what, relation, bound = figure.target
    sign = "≤" if relation == "<=" else "≥"
    number = f"{bound:,g}" if bound < 1000 else f"{bound:,.0f}"
    return f"{sign} {number}x" if what == "ratio" else f"{sign} {number} {figure.unit}".rstrip()


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    if value >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.1g}"
