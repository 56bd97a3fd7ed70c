"""Real processes: the command line, workers, the examples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from playhead.client.main import main
from playhead.runtime.embedded.server import EmbeddedServer
from testkit.processes import ForkServer
from tests.support.commands import SETTINGS, Commands, Finished, Fleet, until_announced
from tests.support.forked import command_forks

__all__: list[str] = []

AGENTS = Path(__file__).with_name("process_agents.py")


@pytest.fixture(scope="session")
def command_server() -> Iterator[ForkServer]:
    """Where commands are started."""
    with command_forks() as server:
        yield server


@pytest.fixture
def commands(tmp_path: Path, command_server: ForkServer) -> Iterator[Commands]:
    """Runs commands in an empty folder; what still runs at the end of the test is killed."""
    with Commands(tmp_path, command_server.path) as here:
        yield here


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, command_server: ForkServer) -> Iterator[Fleet]:
    """A server and one worker process that serves the agents of `process_agents.py`."""
    server = EmbeddedServer.start_sync()
    try:
        with Commands(tmp_path_factory.mktemp("fleet"), command_server.path) as there:
            worker = there.start("worker", str(AGENTS), "--url", server.url, "--drain", "0", "--lease", "2")
            worker.until("serves")
            until_announced(server.url)
            yield Fleet(server.url, worker)
            assert worker.stop() == 0
    finally:
        server.stop_sync()


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server of the test's own."""
    server = EmbeddedServer.start_sync(durable=False)
    try:
        yield server
    finally:
        server.stop_sync()


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Calls `playhead` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)

    def called(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["playhead", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Finished(ended.value.code if isinstance(ended.value.code, int) else 0, out, err.rstrip("\n"))

    return called
