"""Writes the measured parts of docs/scaling.md, each between two comments, from the curves. Pure.

<!-- measured: runs -->
… the text here is replaced …
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from bench.curves.curve import Curve, flat_from, rises_from
from bench.scaling import FleetPlan, arithmetic, fuller_workers
from bench.units import unit_costs, units_table

__all__ = ["PAGE_PARTS", "filled", "parts"]

_FEWEST_FOR_MEMORY: Final = 1000
_PART: Final = re.compile(r"(<!-- measured: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

_COLUMNS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "runs": {
        "events/s": ("received", ",.0f"),
        "worker µs": ("worker_us", ",.1f"),
        "client µs": ("client_us", ",.1f"),
        "server µs": ("server_us", ",.1f"),
        "worker core": ("worker_share", ".0%"),
        "client core": ("client_share", ".0%"),
        "server core": ("server_share", ".0%"),
        "records per call": ("records_per_append", ",.1f"),
        "delay p50": ("delay_p50_ms", ",.1f"),
        "p99, ms": ("delay_p99_ms", ",.1f"),
    },
    "workers": {
        "events/s": ("received", ",.0f"),
        "worker µs": ("worker_us", ",.1f"),
        "client µs": ("client_us", ",.1f"),
        "server µs": ("server_us", ",.1f"),
        "core of each worker": ("worker_share", ".0%"),
        "client core": ("client_share", ".0%"),
        "server core": ("server_share", ".0%"),
        "records per call": ("records_per_append", ",.1f"),
        "delay p50": ("delay_p50_ms", ",.1f"),
        "p99, ms": ("delay_p99_ms", ",.1f"),
    },
    "tails": {
        "connections": ("connections", ",.0f"),
        "KiB each": ("kib", ",.1f"),
        "all open after, s": ("open_s", ",.2f"),
        "to open one, ms": ("open_ms", ",.2f"),
        "idle, client µs/s each": ("idle_client_us", ",.0f"),
        "idle, server µs/s each": ("idle_server_us", ",.0f"),
    },
    "readers": {
        "events/s yielded": ("received", ",.0f"),
        "client µs per event": ("client_us", ",.1f"),
        "client core": ("client_share", ".0%"),
        "server µs per record": ("server_us", ",.0f"),
        "delay p50": ("delay_p50_ms", ",.1f"),
        "p99, ms": ("delay_p99_ms", ",.1f"),
    },
    "records": {
        "bytes each": ("bytes", ",.1f"),
        "attach, ms": ("attach_ms", ",.2f"),
        "its CPU, ms": ("attach_cpu_ms", ",.2f"),
        "fold, µs each": ("fold_us", ",.2f"),
        "fold, s": ("fold_s", ",.2f"),
        "replay, µs each": ("replay_us", ",.2f"),
        "replay, s": ("replay_s", ",.2f"),
    },
}

_BENDS: Final[dict[str, dict[str, str]]] = {
    "runs": {
        "worker CPU per event": "worker_us",
        "client CPU per event": "client_us",
        "server CPU per event": "server_us",
        "delay, p99": "delay_p99_ms",
    },
    "workers": {
        "worker CPU per event": "worker_us",
        "server CPU per event": "server_us",
        "delay, p99": "delay_p99_ms",
    },
    "tails": {"memory per tail": "kib", "time to open one": "open_ms", "client CPU of an idle tail": "idle_client_us"},
    "readers": {
        "client CPU per event": "client_us",
        "server CPU per record": "server_us",
        "delay, p99": "delay_p99_ms",
    },
    "records": {"attach": "attach_ms", "fold per record": "fold_us", "replay per record": "replay_us"},
}


def _curve(name: str, curves: Mapping[str, Curve]) -> str:
    return f"{_table(curves[name])}\n\n{_bends(curves[name])}"


def _table(curve: Curve) -> str:
    columns = _COLUMNS[curve.name]
    lines = [f"| {curve.name} | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for point in curve.points:
        cells = [format(point[key], form) for key, form in columns.values()]
        lines.append(f"| {point[curve.name]:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bends(curve: Curve) -> str:
    return "\n".join(f"* {name}: {_bend(_told(curve, key))}" for name, key in _BENDS[curve.name].items())


def _told(curve: Curve, key: str) -> list[tuple[float, float]]:
    """The values in which a bend is searched. The memory of a few tails fits into the process's free memory."""
    values = curve.of(key)
    return [pair for pair in values if pair[0] >= _FEWEST_FOR_MEMORY] or values if key == "kib" else values


def _bend(values: list[tuple[float, float]]) -> str:
    flat, rises = flat_from(values), rises_from(values)
    falls = f"falls until {flat:,.0f}" if flat > values[0][0] else "flat from the start"
    return f"{falls}, rises from {rises:,.0f} on" if rises is not None else f"{falls}, and stays"


def _machine(curves: Mapping[str, Curve]) -> str:
    told = curves["runs"].machine
    libraries = ", ".join(f"{name} {told[name]}" for name in ("redis", "hiredis", "uvloop"))
    return f"{told['cpu']}, load {told['load']}; {told['system']}; {told['python']}; {told['server']}; {libraries}."


PAGE_PARTS: Final[Mapping[str, Callable[[Mapping[str, Curve]], str]]] = {
    "machine": _machine,
    **{name: (lambda curves, name=name: _curve(name, curves)) for name in _COLUMNS},
    "units": lambda curves: units_table(unit_costs(curves)),
    "fleet": lambda curves: arithmetic(unit_costs(curves), FleetPlan()),
    "fuller": fuller_workers,
}
"""The parts made from the curves alone. The simulation, `shards`, is an argument of `parts`, because it is slow."""


def parts(curves: Mapping[str, Curve], *, shards: str) -> dict[str, str]:
    """The measured parts of the page, by name."""
    return {**{name: write(curves) for name, write in PAGE_PARTS.items()}, "shards": shards}


def filled(page: str, given: Mapping[str, str]) -> str:
    """The page with the given parts replaced; the others do not change.

    Raises:
        KeyError: If the page has no part with one of the names.
    """
    named = {name for _, name, _, _ in _PART.findall(page)}
    if missing := sorted(given.keys() - named):
        raise KeyError(f"the page has no part {missing[0]!r}: it needs `<!-- measured: {missing[0]} -->`")

    def replaced(found: re.Match[str]) -> str:
        head, name, old, end = found.groups()
        return f"{head}{given[name]}\n{end}" if name in given else f"{head}{old}{end}"

    return _PART.sub(replaced, page)
