"""Archiving that is broken off by kill -9 at any place loses no run and shows none twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]


def test_a_kill_between_any_two_steps_loses_no_run_and_doubles_none(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.support.archive_program", str(tmp_path / "kept")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)
    *states, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert end["code"] == 0
    assert end["steps"] >= 8, "two runs, each with a file and an entry, each of which is opened and renamed"
    assert len(states) == end["steps"] + 1
    for state in states:
        assert sorted(state["both"]) == ["a", "b"]
        assert len(set(state["alone"])) == len(state["alone"])
        assert all(state["whole"])
    archived = [len(state["alone"]) for state in states]
    assert archived == sorted(archived), "what was archived stays"
    assert (archived[0], archived[-1]) == (0, 2)
