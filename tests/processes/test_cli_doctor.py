"""`playhead doctor` prints what is wrong with a server, a fleet or a run, and its exit code tells a monitor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis

from playhead.runtime.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []


def states(told: Finished) -> dict[str, str]:
    """Check → its state, for programs; the worst of those of one name."""
    worst: dict[str, str] = {}
    for line in told.lines:
        worst[line["check"]] = max(
            line["state"], worst.get(line["check"], ""), key=["", "ok", "warning", "failed"].index
        )
    return worst


def of(told: Finished, check: str) -> dict[str, Any]:
    """The only line of a check."""
    (line,) = (line for line in told.lines if line["check"] == check)
    return line


def test_doctor_of_a_run_prints_what_is_wrong_with_it(fleet: Fleet, call: Callable[..., Finished]) -> None:
    run_id = call("ask", "absent", "hi", "--detach", "--json", "--url", fleet.url).lines[0]["run"]
    whole = call("doctor", run_id, "--url", fleet.url)
    assert (whole.code, "queued, 1 record, nothing is wrong with it" in whole.out) == (0, True)
    with redis.Redis.from_url(fleet.url) as client:
        client.xadd(f"{{ph:0}}:log:{run_id}", {"r": b"\xc1"}, id="2-0")
    told = call("doctor", run_id, "--json", "--url", fleet.url)
    assert told.code == 1
    assert of(told, "run")["state"] == "failed"
    assert "entry 2-0 was not written by playhead" in of(told, "run")["what"]
    assert call("cancel", run_id, "--url", fleet.url).code == 0


def test_a_durable_server_with_a_worker_is_ok(fleet: Fleet, call: Callable[..., Finished]) -> None:
    told = call("doctor", "--strict", "--json", "--url", fleet.url)
    assert set(states(told).values()) == {"ok"}, told.out
    assert told.code == 0
    assert "1 live worker, 0 of 100 places taken; agents served: asks, assistant, boom" in told.out


def test_a_server_that_may_lose_runs_and_a_run_without_a_worker_are_told_with_what_to_do(
    call: Callable[..., Finished],
) -> None:
    server = EmbeddedServer.start_sync(durable=False, extra_args=("--maxmemory-policy", "allkeys-lru"))
    try:
        told = call("doctor", "--json", "--url", server.url)
        assert (told.code, call("doctor", "--strict", "--url", server.url).code) == (0, 1)
        assert states(told) == {
            **dict.fromkeys(("server", "clock", "rights", "write", "messages", "versions", "runs"), "ok"),
            **dict.fromkeys(("memory", "persistence", "workers"), "warning"),
        }
        run_id = call("ask", "unserved", "hi", "--detach", "--json", "--url", server.url).lines[0]["run"]
        told = call("doctor", "--json", "--url", server.url)
        assert told.code == 1
        assert of(told, "unserved")["runs"] == [run_id]
        read = call("doctor", "--url", server.url).out
        assert "failed   unserved     1 run waits for agent 'unserved', which no live worker serves" in read
        assert f": {run_id}\n" in read
        assert "→ Start a worker whose TARGET has the agent 'unserved'" in read
    finally:
        server.stop_sync()


def test_a_server_that_is_stopped_is_told_within_seconds(server: EmbeddedServer, commands: Commands) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        told = commands.run("doctor", "--json", "--url", server.url)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert told.code == 69
    assert (states(told), "Timeout" in told.out) == ({"server": "failed"}, True)
