"""A worker command that cannot go on ends with one line and the documented code."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import pytest
import redis

from playhead.client import Client
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Finished, Running

__all__: list[str] = []

AGENTS: Final = str(Path(__file__).with_name("process_agents.py"))
DELAY_S: Final = 0.2


@pytest.fixture
def server(server: EmbeddedServer) -> EmbeddedServer:
    """A server of its own, because its users are changed. It has a user `app` with the password `pw` and all rights."""
    acl(server, "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    return server


def acl(server: EmbeddedServer, *arguments: str) -> None:
    """Change the users of the server."""
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", *arguments)


def ends(worker: Running, code: int) -> str:
    """Wait for the worker's end. Its last line, which is the only one that is not about its work."""
    finished: Finished = worker.wait()
    assert finished.code == code, finished.err
    assert "ExceptionGroup" not in finished.err
    return finished.err.splitlines()[-1]


async def streaming(url: str) -> None:
    """Start runs, and wait until one of them streams: then the worker holds runs."""
    with anyio.fail_after(40):
        async with Client(url) as client:
            runs = [await client.start("slow", "Go") for _ in range(5)]
            async for event in runs[-1].stream_async():
                if "data" in event:
                    return


@pytest.mark.parametrize("change", [("DELUSER", "app"), ("SETUSER", "app", "-@all"), ("SETUSER", "app", "-xadd")])
@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_whose_rights_are_taken_away_ends_with_one_line_and_77(
    commands: Commands, server: EmbeddedServer, change: tuple[str, ...], busy: bool
) -> None:
    url = server.url.replace("redis://", "redis://app:pw@")
    worker = commands.start("worker", AGENTS, "--url", url, "--lease", "2")
    worker.until("serves")
    if busy or "-xadd" in change:  # an idle worker appends nothing
        anyio.run(streaming, server.url)
    acl(server, *change)
    assert ends(worker, 77).startswith("playhead: Redis at 127.0.0.1:")


def test_a_supervisor_does_not_restart_workers_whose_rights_are_taken_away(
    commands: Commands, server: EmbeddedServer
) -> None:
    url = server.url.replace("redis://", "redis://app:pw@")
    supervisor = commands.start("worker", AGENTS, "--url", url, "--lease", "2", "--processes", "2")
    supervisor.until("serves")
    supervisor.until("serves")
    acl(server, "SETUSER", "app", "-@all")
    assert ends(supervisor, 77) == (
        "playhead: a worker process ended with exit code 77, for the reason above: a restart cannot fix it"
    )


def _slow_way_to(url: str) -> str:
    """The URL of a relay that delays everything in both directions."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(url.rpartition(":")[2].partition("/")[0])

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(65536):
                time.sleep(DELAY_S)
                sink.sendall(data)

    def accept() -> None:
        while True:
            near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
            for way in ((near, far), (far, near)):
                threading.Thread(target=pump, args=way, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


def test_a_worker_whose_way_to_the_server_is_too_slow_for_its_lease_ends_with_one_line_and_69(
    commands: Commands, server: EmbeddedServer
) -> None:
    worker = commands.start("worker", AGENTS, "--url", _slow_way_to(server.url), "--lease", "2")
    assert ends(worker, 69).startswith("playhead: a lease of 2 s cannot be kept: a round trip to Redis takes 0.4")
