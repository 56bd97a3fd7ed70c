"""`--health-file` and `playhead health` with real processes: one that is stopped makes the whole command unhealthy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from playhead.workers.health import read_health
from tests.processes.conftest import AGENTS

if TYPE_CHECKING:
    from playhead.runtime.embedded.server import EmbeddedServer
    from tests.support.commands import Commands, Finished

__all__: list[str] = []

LIMIT_S = 30.0


def age_of(file: Path) -> float:
    """How old the file is, as any program sees it; endless before there is one."""
    return time.time() - file.stat().st_mtime if file.exists() else float("inf")


def until(holds: Callable[[], bool]) -> None:
    """Wait for what other processes do: a file gives no signal."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stopped_process_of_several_makes_the_command_unhealthy_until_it_goes_on(
    server: EmbeddedServer, commands: Commands, call: Callable[..., Finished], tmp_path: Path
) -> None:
    file = tmp_path / "health"
    worker = commands.start(
        "worker", str(AGENTS), "--url", server.url, "--drain", "0", "--processes", "2", "--health-file", "health"
    )
    until(lambda: age_of(file) < 3.0)
    healthy = call("health", "health")
    assert (healthy.code, healthy.out.startswith("healthy: each of 2 workers asked for work")) == (0, True)
    silent = read_health(file)[0].worker
    pid = int(silent.split("-")[-2])
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: age_of(file) > 4.0)
        told = call("health", "health", "--max-age", "4")
        assert (told.code, told.out.startswith(f"unhealthy: worker {silent} last asked for work")) == (1, True)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: age_of(file) < 3.0)
    assert call("health", "health").code == 0
    assert worker.stop() == 0
    assert not list(tmp_path.glob("*health*"))
    assert call("health", "health").code == 1


def test_a_health_file_that_cannot_be_written_ends_the_worker_at_its_start(call: Callable[..., Finished]) -> None:
    told = call("worker", str(AGENTS), "--health-file", "nowhere/health")
    assert (told.code, "the health file nowhere/health cannot be written" in told.err) == (64, True)
