"""What the bench makes of its rounds: medians, ratios round by round, targets, and the table that shows them."""

from __future__ import annotations

import json
import re

import pytest

from bench.figures import (
    Figure,
    at_least,
    at_most,
    of_rounds,
    percentile,
    ratio_at_least,
    ratio_at_most,
)
from bench.load import Moment, between
from bench.report import print_json, print_table, spread
from bench.server import Counters

__all__: list[str] = []


def test_a_figure_of_several_rounds_is_their_median():
    figure = of_rounds("g", "n", [3.0, 1.0, 2.0], "µs")
    assert (figure.value, figure.rounds, figure.ratio, figure.met) == (2.0, (3.0, 1.0, 2.0), None, None)


def test_a_ratio_is_taken_in_each_round_so_that_a_busy_round_counts_for_both():
    calm_then_busy = of_rounds("g", "n", [10.0, 100.0, 10.0], "µs").beside([20.0, 200.0, 5.0], "yardstick")
    assert calm_then_busy.ratios == (0.5, 0.5, 2.0)
    assert calm_then_busy.ratio == 0.5
    assert calm_then_busy.yardstick == 20.0


def test_a_figure_without_rounds_has_the_plain_ratio():
    assert Figure(group="g", name="n", value=3, unit="", yardstick=2).ratio == 1.5


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (at_most(2.0), True),
        (at_most(1.9), False),
        (at_least(2.0), True),
        (at_least(2.1), False),
        (ratio_at_most(0.5), True),
        (ratio_at_most(0.49), False),
        (ratio_at_least(0.5), True),
        (ratio_at_least(0.51), False),
    ],
)
def test_a_target_bounds_the_median_or_the_ratio(target: tuple[str, str, float], met: bool):
    figure = of_rounds("g", "n", [2.0], "µs").beside([4.0], "yardstick", target=target)  # pyright: ignore[reportArgumentType]
    assert figure.met is met


def test_a_line_beside_a_yardstick_has_a_name_and_a_target_of_its_own():
    figure = of_rounds("g", "cost", [2.0], "µs", target=at_most(1), note="of the first line")
    beside = figure.beside([1.0], "a yardstick", called="the floor")
    assert (beside.name, beside.target, beside.note) == ("cost, the floor", None, "")
    assert figure.target == at_most(1)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: int):
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_table_shows_the_spread_only_where_there_were_rounds(capsys: pytest.CaptureFixture[str]):
    several = of_rounds("g", "cost", [2.0, 4.0, 3.0], "µs").beside([4.0, 4.0, 4.0], "y", target=ratio_at_most(0.5))
    print_table({"cpu": "one"}, [several])
    out = capsys.readouterr().out
    assert re.search(r"cost +3 µs +2-4 +4 µs +0\.75 \(0\.50-1\) +≤ 0\.5x +no", out), out
    print_table({}, [Figure(group="g", name="cost", value=3.0, unit="µs")])
    assert "min-max" not in capsys.readouterr().out


def test_the_spread_of_one_round_is_not_shown():
    assert spread([1.0]) == ""
    assert spread([1500.0, 9.25]) == "9.25-1,500"


def test_the_json_holds_every_round(capsys: pytest.CaptureFixture[str]):
    print_json({"cpu": "one"}, [of_rounds("g", "n", [1.0, 2.0], "µs", target=at_most(1)).beside([2.0, 2.0], "y")])
    (told,) = json.loads(capsys.readouterr().out)["figures"]
    assert (told["rounds"], told["ratios"], told["met"]) == ([1.0, 2.0], [0.5, 1.0], None)


def moment(*, at: float, events: int, records: int, cpu: float) -> Moment:
    view = {"at": at, "cpu": cpu, "events": events, "messages": events // 2, "delay_p50_ms": 1.0, "delay_p99_ms": 2.0}
    return Moment({"cpu": 2 * cpu, "records": records, "appends": records // 10}, view, Counters(cpu / 2, records // 5))


def test_a_window_divides_what_happened_in_it_and_not_before():
    window = between(
        moment(at=10.0, events=1000, records=2000, cpu=1.0), moment(at=12.0, events=5000, records=6000, cpu=1.4)
    )
    assert window.received == 2000
    assert window.worker_us == pytest.approx(200)
    assert window.client_us == pytest.approx(100)
    assert window.server_us == pytest.approx(50)
    assert (window.commands, window.records_per_append, window.records_per_message) == (0.2, 10, 2)


def test_a_window_in_which_nothing_happened_divides_by_one():
    quiet = moment(at=0.0, events=5, records=5, cpu=0.0)
    assert between(quiet, moment(at=1.0, events=5, records=5, cpu=0.5)).client_us == pytest.approx(500_000)
