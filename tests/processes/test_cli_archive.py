"""`playhead archive`, and the commands that read runs with `PLAYHEAD_ARCHIVE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Commands, Finished, Fleet, lines_of

__all__: list[str] = []

Call = Callable[..., Finished]


def test_an_archive_is_written_once_and_read_by_every_command(
    fleet: Fleet, commands: Commands, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url).lines[0]["run"]
    here = ("--url", fleet.url)
    events = lines_of(fleet.url, run)
    shown = call("show", run, *here).out
    written = [line["run"] for line in call("archive", "kept", "--json", *here).lines]
    assert run in written
    assert call("archive", "kept", *here).err == "0 runs archived"
    empty = (*here, "--prefix", "empty")
    assert call("show", run, *empty).code == 66
    monkeypatch.setenv("PLAYHEAD_ARCHIVE", "kept")
    assert call("tail", run, "--json", *empty).lines == events
    assert call("tail", run, "--json", "--after", events[3]["cursor"], *empty).lines == events[4:]
    assert call("replay", run, "--fast", "--json", *empty).lines == events
    assert call("show", run, *empty).out == shown
    assert call("diff", run, run, *empty).code == 0
    assert sorted(line["run_id"] for line in call("runs", "--json", "--limit", "100", *empty).lines) == sorted(written)
    (file,) = Path("kept/runs", run).iterdir()
    assert call("replay", str(file), "--fast", "--json").lines == events
    assert call("archive", "nowhere://x", *here).code == 69
