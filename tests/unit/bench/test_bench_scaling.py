"""From curves to unit costs, to a fleet, and to shards: the sums are right, and the simulation does what it says."""

from __future__ import annotations

import re

import pytest

from bench.curves.curve import Curve
from bench.scaling import FleetPlan, arithmetic, fuller_workers, shard_costs
from bench.simulation import Load, ShardCosts, simulate, table
from bench.units import unit_costs, units_table

__all__: list[str] = []


def point(runs: int, *, worker_us: float, server_us: float, held: float) -> dict[str, float]:
    return {
        "runs": runs,
        "worker_us": worker_us,
        "client_us": worker_us / 2,
        "server_us": server_us,
        "busy_kib": 100,
        "empty_server_share": 0.001,
        "held_server_share": held,
        "worker_connections": 4,
        "client_connections": 2,
    }


def curves() -> dict[str, Curve]:
    runs = [
        point(1, worker_us=100, server_us=80, held=0.002),
        point(100, worker_us=20, server_us=16, held=0.003),
        point(1001, worker_us=10, server_us=8, held=0.012),
    ]
    fleet = [
        {"workers": workers, "offered": 100, "received": received, "worker_us": 20, "client_us": 10, "server_us": cost}
        for workers, received, cost in ((1, 100, 64), (4, 99, 16), (8, 60, 4))
    ]
    return {
        "runs": Curve(name="runs", machine={}, points=runs),
        "workers": Curve(name="workers", machine={}, points=fleet),
        "tails": Curve(name="tails", machine={}, points=[{"tails": 1, "kib": 50}, {"tails": 10, "kib": 8}]),
        "records": Curve(name="records", machine={}, points=[{"records": 10, "bytes": 30}]),
    }


def test_the_cost_of_an_event_is_that_of_the_most_workers_that_kept_up():
    units = unit_costs(curves())
    assert (units.worker_us, units.client_us, units.server_us) == (20, 10, 16)


def test_where_no_fleet_kept_up_the_smallest_tells_the_cost():
    late = Curve(name="workers", machine={}, points=[{**curves()["workers"].points[2], "server_us": 5}] * 2)
    assert unit_costs({**curves(), "workers": late}).server_us == 5


def test_what_a_worker_asks_for_by_itself_is_not_laid_on_its_runs():
    units = unit_costs(curves())
    assert units.idle_us == pytest.approx(1000)  # what one run costs the server, less what an empty server uses
    assert units.renewal_us == pytest.approx(0.010 / 1000 * 1e6 * 10 / 3)
    assert (units.tail_kib, units.bytes) == (8, 30)


def cells(text: str, what: str) -> list[str]:
    (row,) = re.findall(rf"^\| {re.escape(what)} \| (.*) \|$", text, re.MULTILINE)
    return row.split(" | ")


def test_the_arithmetic_of_a_fleet_adds_up():
    text = arithmetic(unit_costs(curves()), FleetPlan(workers=1000, runs=100, clients=100, rate=20, speaking=0.5))
    assert cells(text, "runs at once")[1] == "100,000"
    assert cells(text, "events a second")[1] == "1,000,000"
    assert cells(text, "Redis, events") == ["1,000,000 ÷ 62,500 a core", "16.0 cores"]
    assert cells(text, "Redis, leases and idle tails")[1] == "300 calls/s, 1.00 cores"
    assert cells(text, "Redis, checks for queued runs")[1] == "1.00 cores"
    assert cells(text, "shards")[1] == "30"
    assert cells(text, "connections to each")[1] == "4,200"
    assert cells(text, "a worker's CPU")[1] == "2.0% of a core"
    assert cells(text, "Redis memory, a run-hour")[1] == "1.08 MB"
    assert cells(text, "all runs, an hour")[1] == "108 GB"


def test_fewer_fuller_workers_are_reckoned_with_the_costs_of_their_calls():
    text = fuller_workers(curves(), runs=100_000)
    assert cells(text, "1,000 workers \N{MULTIPLICATION SIGN} 100")[:2] == ["16.0 µs", "8.0"]
    assert cells(text, "100 workers \N{MULTIPLICATION SIGN} 1,001")[0] == "8.0 µs"


def test_a_cost_too_small_to_measure_is_not_divided_by():
    flat = [point(1, worker_us=1, server_us=1, held=0.001), point(10, worker_us=1, server_us=1, held=0.001)]
    units = unit_costs({**curves(), "runs": Curve(name="runs", machine={}, points=flat)})
    assert cells(units_table(units), "server CPU for a worker's checks")[1] == "too little to measure"


def test_every_worker_asks_every_shard_for_work():
    costs = shard_costs(unit_costs(curves()), FleetPlan(workers=10))
    assert costs.fixed_us == pytest.approx(10_000)
    assert costs.held_us == pytest.approx(10.0)


SMALL = Load(runs=2000, seconds=5, placements=2)
COSTS = ShardCosts(event_us=10, held_us=1, fixed_us=1000)


def test_the_simulated_events_are_those_of_the_runs_that_speak():
    one, four = simulate(SMALL, COSTS, (1, 4))
    assert one.events == pytest.approx(2000 * 0.25 * 20, rel=0.1)
    assert four.events == pytest.approx(one.events / 4)
    assert one.cores == pytest.approx(one.events * 10e-6 + 2000e-6 + 1000e-6)


def test_one_shard_is_even_and_more_are_less_so():
    imbalances = [one.imbalance for one in simulate(SMALL, COSTS)]
    assert imbalances[0] == 1.0
    assert imbalances == sorted(imbalances)
    assert imbalances[-1] < 2


def test_a_shard_that_is_asked_for_more_than_a_core_lags_by_the_rest():
    dear = ShardCosts(event_us=400, held_us=0)
    one, sixteen = simulate(SMALL, dear, (1, 16))
    assert one.delay_s == pytest.approx((one.busiest_cores - 1) * SMALL.seconds, rel=0.1)
    assert sixteen.busiest_cores < 1
    assert sixteen.delay_s == 0


def test_a_seed_gives_the_same_simulation_again():
    assert simulate(SMALL, COSTS, (2,)) == simulate(SMALL, COSTS, (2,))
    assert simulate(SMALL, COSTS, (2,)) != simulate(Load(runs=2000, seconds=5, placements=2, seed=8), COSTS, (2,))


def test_the_table_of_shards_says_which_keep_up():
    rows = table(simulate(SMALL, ShardCosts(event_us=400, held_us=0), (1, 16)), seconds=SMALL.seconds).splitlines()
    assert rows[2].startswith("| 1 | 2,000 |")
    assert rows[2].endswith(" s |")
    assert rows[3].endswith("| nothing |")
