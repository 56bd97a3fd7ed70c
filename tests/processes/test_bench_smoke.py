"""The bench runs from end to end, gives every figure, and leaves no process. No test here depends on a value."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "latency",
    "saturated",
    "paced",
    "loop",
    "hosting",
    "tails",
    "memory",
    "replay",
    "export",
    "states",
    "verify",
    "fork",
    "lists",
}
CURVES = ["runs", "workers", "tails", "readers", "records"]


def bench(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "--smoke", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
def test_every_measurement_gives_figures_that_make_sense():
    with bench("--json") as process:
        out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    told: dict[str, Any] = json.loads(out)
    assert {"cpu", "python", "server", "redis"} <= set(told["machine"])
    assert {figure["group"] for figure in told["figures"]} == GROUPS
    for figure in told["figures"]:
        assert math.isfinite(figure["value"]), figure
        assert figure["value"] >= 0 or "above" in figure["name"], figure  # a difference, and the machine may be busy
        assert figure["ratio"] is None or figure["ratio"] > 0, figure
        assert (figure["met"] is None) == (figure["target"] is None), figure
    (connections,) = [one["value"] for one in told["figures"] if one["name"].startswith("connections")]
    assert connections == 2
    names = [(figure["group"], figure["name"]) for figure in told["figures"]]
    assert len(names) == len(set(names)), "two lines are called the same"


@pytest.mark.timeout(300)
def test_its_processes_end_when_it_is_killed():
    with bench("--only", "saturated") as process:
        assert process.stderr is not None
        assert any("round" in line for line in process.stderr), "the fleet was never measured"
        process.kill()
        process.stderr.read()  # ends when the last process that holds this pipe has ended


def test_what_can_be_measured_is_listed_by_name():
    with bench("--list") as process:
        out, error = process.communicate(timeout=50)
    assert process.returncode == 0, error
    assert {line.split()[0] for line in out.splitlines()} == GROUPS


def test_the_table_says_what_was_missed_and_what_was_met():
    with bench("--only", "memory") as process:
        out, error = process.communicate(timeout=50)
    assert process.returncode == 0, error
    assert "per token" in out
    assert re.search(r"≤ 64 bytes +yes", out)


@pytest.mark.timeout(150)
def test_every_curve_is_measured_and_kept(tmp_path: Path):
    command = [sys.executable, "-m", "bench.curves", "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json" for name in CURVES}
    for name in CURVES:
        kept = json.loads((ROOT / "docs" / "curves" / f"{name}.json").read_text())
        measured = json.loads((tmp_path / f"{name}.json").read_text())
        assert [point.keys() for point in measured["points"]] == [kept["points"][0].keys()], name


def test_small_curves_do_not_overwrite_those_of_the_documentation():
    command = [sys.executable, "-m", "bench.curves", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "--out" in done.stderr
