"""The table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.figures import Figure

__all__ = ["print_json", "print_table"]


def print_json(machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """One JSON object on standard output."""
    print(json.dumps({"machine": dict(machine), "figures": [figure.as_json() for figure in figures]}, indent=2))


def print_table(
    machine: Mapping[str, str], figures: Sequence[Figure], *, title: str = "playhead, measured here and now"
) -> None:
    """A table for people, 80 columns wide, and below it what each figure needs to be believed."""
    console = Console(highlight=False)
    for name, value in machine.items():
        console.print(f"[dim]{name:>9}[/] {value}")
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("what")
    for column in ("measured", "yardstick", "ratio", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    group = ""
    for figure in figures:
        if figure.group != group:
            table.add_section()
            table.add_row(f"[bold]{figure.group}[/]")
        group = figure.group
        table.add_row(*_cells(figure))
    console.print(table)
    for figure in figures:
        notes = [figure.note] if figure.note else []
        notes += [f"yardstick: {figure.yardstick_name}"] if figure.yardstick_name else []
        if notes:
            console.print(f"[dim]{figure.group}, {figure.name}: {'; '.join(notes)}[/]")


def _cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    yardstick = "" if figure.yardstick is None else _with_unit(figure.yardstick, figure.unit)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]
    return figure.name, _with_unit(figure.value, figure.unit), yardstick, ratio, _target(figure), verdict


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    what, relation, bound = figure.target
    sign = "≤" if relation == "<=" else "≥"
    return f"{sign} {bound:g}x" if what == "ratio" else f"{sign} {bound:g} {figure.unit}".rstrip()


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    if value >= 1000 or isinstance(value, int):
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.1g}"
