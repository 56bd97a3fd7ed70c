"""Computes unit costs from the measured curves, and the costs of a fleet from them, and shows the arithmetic.

    python -m bench.scaling

does so from the curves stored in docs/, and simulates 100,000 runs over 1 to 16 shards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.curves.curve import Curve, load
from bench.simulation import Load, ShardCosts, simulate, table
from bench.units import RENEW_EVERY_S, Row, UnitCosts, markdown, unit_costs, units_table

__all__ = ["FleetPlan", "arithmetic", "fuller_workers", "main", "shard_costs", "shards_table"]

_BUSY: Final = 0.6
"""The planned load of a shard's core: the rest is a reserve for uneven load."""
_SIMULATED: Final = Load()


def shard_costs(units: UnitCosts, plan: FleetPlan) -> ShardCosts:
    """The unit costs as the simulation needs them."""
    return ShardCosts(
        event_us=units.server_us, held_us=units.renewal_us / RENEW_EVERY_S, fixed_us=plan.workers * units.idle_us
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """A fleet whose costs are computed.

    Attributes:
        workers: Worker processes.
        runs: Runs of each worker at once.
        clients: Client processes; together they tail each run once.
        rate: Events a second of a streaming run.
        speaking: The fraction of the runs that stream at any moment.
        kept_h: Hours that logs are kept.
    """

    workers: int = 1000
    runs: int = 100
    clients: int = 100
    rate: float = _SIMULATED.rate
    speaking: float = _SIMULATED.speaking
    kept_h: int = 24 * 7

    @property
    def all_runs(self) -> int:
        """Runs at once."""
        return self.workers * self.runs

    @property
    def events(self) -> float:
        """Events a second of all runs."""
        return self.all_runs * self.speaking * self.rate


def arithmetic(units: UnitCosts, plan: FleetPlan) -> str:
    """The costs of a fleet, as a Markdown table of the arithmetic."""
    rows = [
        ("runs at once", f"{plan.workers:,} workers * {plan.runs}", f"{plan.all_runs:,}"),
        (
            "events a second",
            f"{plan.all_runs:,} * {plan.speaking:.0%} that stream * {plan.rate:.0f}",
            f"{plan.events:,.0f}",
        ),
        *_of_redis(units, plan),
        *_of_processes(units, plan),
        *_of_memory(units, plan),
    ]
    return markdown(("what", "arithmetic", "result"), rows)


def _of_redis(units: UnitCosts, plan: FleetPlan) -> list[Row]:
    per_core = 1e6 / units.server_us
    renewals = plan.workers / RENEW_EVERY_S
    leases = renewals * plan.runs * units.renewal_us / 1e6
    looks = plan.workers * units.idle_us / 1e6
    cores = plan.events / per_core + leases + looks
    to_each = plan.workers * units.worker_connections + plan.clients * units.client_connections
    return [
        ("Redis, events", f"{plan.events:,.0f} ÷ {per_core:,.0f} a core", f"{plan.events / per_core:.1f} cores"),
        (
            "Redis, leases and idle tails",
            f"{plan.workers:,} calls each {RENEW_EVERY_S:.1f} s, of {plan.runs} * {units.renewal_us:.1f} µs",
            f"{renewals:,.0f} calls/s, {leases:.2f} cores",
        ),
        ("Redis, checks for queued runs", f"{plan.workers:,} * {units.idle_us / 1000:.1f} ms/s", f"{looks:.2f} cores"),
        ("shards", f"{cores:.1f} cores ÷ {_BUSY:.0%} of a core each", f"{math.ceil(cores / _BUSY)}"),
        (
            "connections to each",
            f"{plan.workers:,} * {units.worker_connections} + {plan.clients} * {units.client_connections}",
            f"{to_each:,}",
        ),
    ]


def _of_processes(units: UnitCosts, plan: FleetPlan) -> list[Row]:
    worker = plan.runs * plan.speaking * plan.rate * units.worker_us / 1e6
    clients = plan.events * units.client_us / 1e6
    return [
        (
            "a worker's CPU",
            f"{plan.runs} * {plan.speaking:.0%} * {plan.rate:.0f} * {units.worker_us:.1f} µs",
            f"{worker:.1%} of a core",
        ),
        ("all workers' CPU", f"{plan.workers:,} * {worker:.1%}", f"{plan.workers * worker:.1f} cores"),
        ("a worker's memory", f"{plan.runs} * {units.run_kib:.0f} KiB", f"{plan.runs * units.run_kib / 1024:.1f} MiB"),
        ("all clients' CPU", f"{plan.events:,.0f} * {units.client_us:.1f} µs", f"{clients:.1f} cores"),
        (
            "a client's memory",
            f"{plan.all_runs // plan.clients:,} tails * {units.tail_kib:.1f} KiB",
            f"{plan.all_runs / plan.clients * units.tail_kib / 1024:.1f} MiB",
        ),
    ]


def _of_memory(units: UnitCosts, plan: FleetPlan) -> list[Row]:
    run_hour = plan.rate * plan.speaking * 3600 * units.bytes
    hour = plan.all_runs * run_hour
    return [
        (
            "Redis memory, a run-hour",
            f"{plan.rate:.0f}/s * {plan.speaking:.0%} * 3,600 s * {units.bytes:.0f} bytes",
            f"{run_hour / 1e6:.2f} MB",
        ),
        ("all runs, an hour", f"{plan.all_runs:,} * {run_hour / 1e6:.2f} MB", f"{hour / 1e9:,.0f} GB"),
        (
            f"kept for {plan.kept_h} hours",
            f"{hour / 1e9:,.0f} GB * {plan.kept_h}",
            f"{hour * plan.kept_h / 1e12:,.1f} TB",
        ),
    ]


def fuller_workers(curves: Mapping[str, Curve], *, runs: int = _SIMULATED.runs) -> str:
    """The same runs on fewer workers, as a Markdown table that shows the effect of larger calls."""
    idle_us = unit_costs(curves).idle_us
    rows: list[Row] = []
    for point in curves["runs"].points:
        plan = FleetPlan(workers=math.ceil(runs / point["runs"]), runs=int(point["runs"]))
        rows.append(
            (
                f"{plan.workers:,} workers * {plan.runs:,}",
                f"{point['server_us']:.1f} µs",
                f"{plan.events * point['server_us'] / 1e6:.1f}",
                f"{plan.events * point['worker_us'] / 1e6:.1f}",
                f"{plan.workers * idle_us / 1e6:.2f}",
            )
        )
    heads = ("fleet", "server CPU per event", "Redis cores, events", "worker cores", "Redis cores, checks")
    return markdown(heads, rows)


def shards_table(curves: Mapping[str, Curve], simulated: Load) -> str:
    """The simulation as a Markdown table."""
    costs = shard_costs(unit_costs(curves), FleetPlan())
    return table(simulate(simulated, costs), seconds=simulated.seconds)


def main() -> None:
    """The command."""
    curves = {name: load(name) for name in ("runs", "workers", "tails", "records")}
    units = unit_costs(curves)
    print(
        units_table(units),
        arithmetic(units, FleetPlan()),
        fuller_workers(curves),
        shards_table(curves, _SIMULATED),
        sep="\n\n",
    )


if __name__ == "__main__":
    main()
