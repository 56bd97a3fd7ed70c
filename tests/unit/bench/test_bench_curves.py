"""The curves: where they bend, how they are kept, and that docs/scaling.md shows the figures that are kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.curves.curve import FOLDER, Curve, flat_from, load, rises_from, save
from bench.curves.draw import PANELS
from bench.curves.page import PAGE_PARTS, filled

__all__: list[str] = []

PAGE = FOLDER.parent / "scaling.md"
NAMES = ["runs", "workers", "tails", "readers", "records"]


def costs(*values: float) -> list[tuple[float, float]]:
    return [(10.0**place, value) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "flat", "rises"),
    [
        (costs(5, 5, 5), 1, None),
        (costs(100, 20, 10, 10), 100, None),
        (costs(100, 10, 14, 16), 10, 1000),
        (costs(10, 20, 30), 1, 10),
        (costs(10, 40, 10, 12), 1, None),  # it comes back, so it is not a bend
        (costs(10, 40, 10, 40), 1, 1000),
    ],
)
def test_a_bend_is_where_a_cost_stops_to_fall_or_rises_for_good(
    values: list[tuple[float, float]], flat: float, rises: float | None
):
    assert flat_from(values) == flat
    assert rises_from(values) == rises


def test_a_curve_is_kept_to_four_digits_and_read_back(tmp_path: Path):
    curve = Curve(name="runs", machine={"cpu": "one"}, points=[{"runs": 1, "worker_us": 12.34567}, {"runs": 10.0}])
    assert save(curve, tmp_path) == tmp_path / "runs.json"
    assert load("runs", tmp_path) == Curve(
        name="runs", machine={"cpu": "one"}, points=[{"runs": 1, "worker_us": 12.35}, {"runs": 10}]
    )
    assert load("runs", tmp_path).of("runs") == [(1, 1), (10, 10)]


@pytest.mark.parametrize("name", NAMES)
def test_the_curves_that_are_kept_grow_and_have_what_is_drawn(name: str):
    curve = load(name)
    sizes = [size for size, _ in curve.of(name)]
    assert sizes == sorted(set(sizes))
    assert len(sizes) > 1
    for panel in PANELS[name]:
        for key in panel.lines.values():
            assert all(value >= 0 for _, value in curve.of(key)), key


@pytest.mark.parametrize("name", sorted(PAGE_PARTS))
def test_the_page_shows_the_figures_that_are_kept(name: str):
    page = PAGE.read_text(encoding="utf-8")
    curves = {curve: load(curve) for curve in NAMES}
    assert filled(page, {name: PAGE_PARTS[name](curves)}) == page, "run `python -m bench.curves --draw`"


def test_the_page_shows_every_drawing_and_no_other():
    shown = re.findall(r"!\[[^\]]+\]\(curves/(\w+)\.svg\)", PAGE.read_text(encoding="utf-8"))
    assert shown == NAMES
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(NAMES)


def test_only_the_parts_that_are_given_are_replaced():
    page = "a\n<!-- measured: x -->\nold\n<!-- end -->\n<!-- measured: y -->\nold\n<!-- end -->\n"
    assert filled(page, {"y": "new"}) == page[:-20] + page[-20:].replace("old", "new")


def test_a_part_that_the_page_lacks_is_named():
    with pytest.raises(KeyError, match="no part 'y'"):
        filled("<!-- measured: x -->\n<!-- end -->\n", {"y": "new"})
