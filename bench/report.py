"""The table and the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import Figure

__all__ = ["print_json", "print_table"]


def print_json(machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """One JSON object on standard output."""
    print(json.dumps({"machine": dict(machine), "figures": [figure.as_json() for figure in figures]}, indent=2))


def print_table(machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """A table for people."""
    console = Console(highlight=False)
    for name, value in machine.items():
        console.print(f"[dim]{name:>9}[/] {value}")
    table = Table(title="playhead, measured here and now", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("yardstick", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    group = ""
    for figure in figures:
        if group and figure.group != group:
            table.add_section()
        group = figure.group
        table.add_row(*_cells(figure))
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"[dim]{figure.group}, {figure.name}: {figure.note}[/]")


def _cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    yardstick = ""
    if figure.yardstick is not None:
        yardstick = f"{_number(figure.yardstick)} {figure.unit}\n[dim]{figure.yardstick_name}[/]"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
    return figure.name, f"{_number(figure.value)} {figure.unit}", yardstick, ratio, _target(figure), verdict


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    what, relation, bound = figure.target
    sign = "≤" if relation == "<=" else "≥"
    return f"{sign} {bound:g} x" if what == "ratio" else f"{sign} {bound:g} {figure.unit}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
