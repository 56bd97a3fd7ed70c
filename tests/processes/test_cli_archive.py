"""`playhead archive`, and the commands that read runs with `PLAYHEAD_ARCHIVE`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.keys import Keys
from tests.processes.conftest import AGENTS
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
    narrow = ("--agent", "assistant", "--state", "completed", "--since", "1d")
    assert run in [line["run_id"] for line in call("runs", "--json", *narrow, *empty).lines]
    for other in (("--agent", "other"), ("--state", "paused")):
        assert call("runs", *other, *empty).err == f"playhead: no run fits {' '.join(other)}"
    assert call("runs", "--since", "0s", *empty).err == "playhead: no run was submitted in that time"
    (file,) = Path("kept/runs", run).iterdir()
    assert call("replay", str(file), "--fast", "--json").lines == events
    assert call("archive", "nowhere://x", *here).code == 69


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does and gives no signal of."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_whose_worker_was_killed_before_it_was_archived_is_archived_by_the_next(
    server: EmbeddedServer, commands: Commands, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "runs").write_bytes(b"so that nothing can be archived")
    start = ("worker", str(AGENTS), "--url", server.url, "--drain", "0", "--lease", "2", "--archive", str(kept))
    first = commands.start(*start)
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", "--url", server.url).lines[0]["run"]
    name = first.until(r"worker (\S+) serves")[1]
    first.until("it cannot be written")
    first.process.kill()
    first.wait()
    with redis.Redis.from_url(server.url) as client:
        until(lambda: not client.exists(Keys("ph").worker(name)))
    (kept / "runs").unlink()
    second = commands.start(*start, "--processes", "2")
    until(lambda: any(kept.glob(f"index/*/*-{run}.json")))
    events = lines_of(server.url, run)
    (file,) = (kept / "runs" / run).iterdir()
    assert commands.run("replay", str(file), "--fast", "--json").lines == events
    assert second.stop() == 0


def test_an_archive_that_cannot_be_used_is_refused_at_the_start(call: Call) -> None:
    for command in (("worker", str(AGENTS), "--processes", "2"), ("worker", str(AGENTS)), ("dev", str(AGENTS))):
        done = call(*command, "--archive", "nowhere://x")
        assert done.code == 69
        assert done.err.startswith("playhead: archive nowhere://x: fsspec cannot use it")
        done = call(*command, "--archive", "kept", "--retention", "1m")
        assert done.code == 64
        assert "must be kept for at least 5 minutes" in done.err
