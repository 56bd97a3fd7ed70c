"""The drawings of the curves. Not a unit test, because matplotlib looks for fonts by other programs when it is first used."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from bench.curves.curve import load
from bench.curves.draw import draw

__all__: list[str] = []


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="needs the dependency group bench")
def test_the_same_figures_give_the_same_drawing(tmp_path: Path):
    curve: Any = load("runs")
    first = draw(curve, tmp_path).read_bytes()
    assert draw(curve, tmp_path).read_bytes() == first
