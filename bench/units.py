"""Unit costs, from the measured curves. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.curves.curve import Curve

__all__ = ["RENEW_EVERY_S", "Row", "UnitCosts", "markdown", "unit_costs", "units_table"]

RENEW_EVERY_S: Final = 10.0 / 3
"""A third of the default lease."""
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_KEPT_UP: Final = 0.95
"""A fraction of the offered rate. A fleet that cannot keep up is cheaper per event, because its calls are larger."""

Row = tuple[str, ...]
"""The cells of a line of a table; ` * ` in them is shown as a multiplication sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """The measured unit costs.

    Attributes:
        worker_us, client_us, server_us: CPU per event, with several workers of 100 runs that stream 20 events a second.
        idle_us: CPU of the server a second for a worker with hardly any runs: it checks for queued and for lost runs.
        renewal_us: CPU of the server, from one renewal to the next, for a run that has a tail and streams nothing: its
            part of the renewal, and the checks of its tail.
        run_kib: Memory of the worker for a streaming run.
        tail_kib: Memory of the client for a tail.
        bytes: Memory of the stream per record.
        worker_connections, client_connections: Connections to a server.
    """

    worker_us: float
    client_us: float
    server_us: float
    idle_us: float
    renewal_us: float
    run_kib: float
    tail_kib: float
    bytes: float
    worker_connections: int
    client_connections: int


def unit_costs(curves: Mapping[str, Curve]) -> UnitCosts:
    """The unit costs: of an event at the highest number of workers that kept up, of the rest at the highest number of
    runs and tails."""
    workers = curves["workers"].points
    fleet = [point for point in workers if point["received"] >= _KEPT_UP * point["offered"]] or workers[:1]
    least, most = curves["runs"].points[0], curves["runs"].points[-1]
    held = (most["held_server_share"] - least["held_server_share"]) / (most["runs"] - least["runs"])
    return UnitCosts(
        worker_us=fleet[-1]["worker_us"],
        client_us=fleet[-1]["client_us"],
        server_us=fleet[-1]["server_us"],
        idle_us=max(0.0, least["held_server_share"] - least["empty_server_share"]) * 1e6,
        renewal_us=max(0.0, held) * 1e6 * RENEW_EVERY_S,
        run_kib=most["busy_kib"],
        tail_kib=curves["tails"].points[-1]["kib"],
        bytes=curves["records"].points[-1]["bytes"],
        worker_connections=int(most["worker_connections"]),
        client_connections=int(most["client_connections"]),
    )


def units_table(units: UnitCosts) -> str:
    """The unit costs as a Markdown table."""
    rows = [
        ("worker CPU per event", f"{units.worker_us:.1f} µs", f"{1e6 / units.worker_us:,.0f} events/s a core"),
        ("client CPU per event", f"{units.client_us:.1f} µs", f"{1e6 / units.client_us:,.0f} events/s a core"),
        ("server CPU per event", f"{units.server_us:.1f} µs", f"{1e6 / units.server_us:,.0f} events/s a core"),
        (
            "server CPU for a worker's checks",
            f"{units.idle_us / 1000:.1f} ms/s",
            _in_a(1e6, units.idle_us, "core", "workers"),
        ),
        (
            "server CPU to hold a run and its tail",
            f"{units.renewal_us:.1f} µs",
            f"each {RENEW_EVERY_S:.1f} s, when its lease is renewed",
        ),
        ("worker memory per streaming run", f"{units.run_kib:.0f} KiB", _in_a(2**20, units.run_kib, "GiB", "runs")),
        ("client memory per tail", f"{units.tail_kib:.1f} KiB", _in_a(2**20, units.tail_kib, "GiB", "tails")),
        ("Redis memory per token", f"{units.bytes:.0f} bytes", _in_a(2**30, units.bytes, "GiB", "tokens")),
        ("connections of a worker process", f"{units.worker_connections}", "to each server"),
        ("connections of a client process", f"{units.client_connections}", "to each server, however many tails"),
    ]
    return markdown(("what", "costs", "that is"), rows)


def _in_a(whole: float, each: float, name: str, what: str) -> str:
    return f"{whole / each:,.0f} {what} a {name}" if each > 0 else "too little to measure"


def markdown(heads: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [_line(heads), f"|{'---|' * len(heads)}", *map(_line, rows)]
    return "\n".join(lines).replace(" * ", f" {_TIMES} ")


def _line(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"
