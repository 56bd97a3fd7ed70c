"""What `playhead doctor` makes of what a server reports and of the runs and workers that it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from playhead.client.cli.checks.check import Check, age, exit_code, named
from playhead.client.cli.checks.fleet import Fleet, fleet_checks, slowest_of
from playhead.client.cli.checks.server import Server, server_checks
from playhead.client.cli.checks.trials import Trial, rights_checks, trial_checks
from playhead.runtime.core.errors import RedisAuthError, WriteRefusedError
from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__: list[str] = []

NOW: Final = 1_000_000_000

HEALTHY: Final[Mapping[str, Any]] = {
    "redis_version": "8.0.0",
    "role": "master",
    "used_memory": 100,
    "maxmemory": 1000,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "connected_slaves": 1,
    "connected_clients": 10,
    "maxclients": 100,
}


def server(
    reported: Mapping[str, Any],
    *,
    fsync: str | None = "everysec",
    ahead_ms: float = 0.0,
    durability: Durability = "memory",
) -> list[Check]:
    return server_checks(
        Server(
            where="redis://localhost",
            topology="one server",
            info={**HEALTHY, **reported},
            fsync=fsync,
            trip_ms=0.1,
            ahead_ms=ahead_ms,
            weaknesses=(),
            durabilities={durability},
        )
    )


def bad(checks: list[Check]) -> list[tuple[str, str]]:
    return [(one.check, one.state) for one in checks if one.state != "ok"]


def test_a_healthy_server_fails_nothing() -> None:
    assert bad(server({})) == []


@pytest.mark.parametrize(
    ("reported", "found"),
    [
        ({"used_memory": 900}, ("memory", "warning")),
        ({"maxmemory": 0, "total_system_memory": 1000, "used_memory": 950}, ("memory", "warning")),
        ({"evicted_keys": 3}, ("memory", "failed")),
        ({"aof_last_write_status": "err"}, ("persistence", "failed")),
        ({"rdb_last_bgsave_status": "err"}, ("persistence", "failed")),
        ({"role": "slave"}, ("durability", "failed")),
        ({"connected_clients": 95}, ("connections", "warning")),
    ],
)
def test_what_a_server_reports_is_judged(reported: Mapping[str, Any], found: tuple[str, str]) -> None:
    assert bad(server(reported)) == [found]
    assert all(one.do for one in server(reported) if one.state != "ok")


@pytest.mark.parametrize(
    ("durability", "reported", "fsync", "found"),
    [
        ("replicated", {}, "everysec", []),
        ("replicated", {"connected_slaves": 0}, "everysec", [("durability", "failed")]),
        ("fsynced", {}, "always", []),
        ("fsynced", {}, None, []),
        ("fsynced", {}, "everysec", [("durability", "failed")]),
        ("memory", {"connected_slaves": 0}, "everysec", []),
    ],
)
def test_a_server_is_held_to_the_durability_of_the_workers(
    durability: Durability, reported: Mapping[str, Any], fsync: str | None, found: list[tuple[str, str]]
) -> None:
    assert bad(server(reported, fsync=fsync, durability=durability)) == found


def test_a_clock_that_is_seconds_off_is_a_warning_that_says_by_how_much() -> None:
    assert bad(server({}, ahead_ms=1500)) == []
    (_, early, *_), (_, late, *_) = server({}, ahead_ms=61_000), server({}, ahead_ms=-2500)
    assert "Redis' clock is 61.0 s ahead of this machine's" in early.what
    assert "this machine's clock is 2.5 s ahead of that of Redis" in late.what


def test_a_user_who_may_not_ask_for_the_server_s_state_gets_no_wrong_answer() -> None:
    report = Server(
        where="redis://localhost",
        topology="one server",
        info={"redis_version": "8.0.0", "role": "master"},
        fsync=None,
        trip_ms=0.1,
        ahead_ms=0.0,
        weaknesses=(),
        durabilities={"replicated", "fsynced"},
    )
    assert [one.check for one in server_checks(report) if one.check in ("memory", "persistence", "connections")] == []
    assert [one for one in server_checks(report) if one.state == "failed"] == []


def test_the_trials_of_many_shards_are_one_line_unless_one_fails() -> None:
    fine = [Trial(shard=shard, durability="memory", write_s=0.001, message_s=0.002) for shard in range(3)]
    assert [one.what for one in trial_checks(fine)] == [
        "a key was written and read back on each of 3 shards, in 1.0 ms",
        "a message was published and received on each of 3 shards, in 2.0 ms",
    ]
    refused = Trial(shard=1, durability="memory", write_error=WriteRefusedError("NOREPLICAS"), message_s=0.002)
    failing, messages = trial_checks([fine[0], refused])
    assert (failing.check, failing.state, failing.shard) == ("write", "failed", 1)
    assert messages.state == "ok"


def test_a_user_who_may_not_wait_for_a_replica_is_a_warning() -> None:
    trial = Trial(shard=0, durability="replicated", write_error=RedisAuthError("no permission"), message_s=0.1)
    assert bad(trial_checks([trial])) == [("write", "warning")]


def test_a_user_without_the_rights_of_any_role_fails_and_one_with_those_of_a_role_does_not() -> None:
    none = rights_checks({"worker": ["+eval"], "client": ["+eval"], "viewer": ["+get"]})
    assert {one.state for one in none} == {"failed"}
    assert none[0].do.endswith("ACL SETUSER USER +eval")
    some = rights_checks({"worker": ["+blpop"], "client": [], "viewer": []})
    assert [one.what for one in some] == [
        "the user has the rights of a client, a viewer",
        "as a worker the user lacks +blpop",
    ]
    assert bad(some) == []


def run(
    run_id: str, state: RunStateName, *, session: str | None = None, agent: str = "a", since: int = 60_000
) -> RunInfo:
    at = NOW - since
    return RunInfo(run_id, state, agent, session, head=3, epoch=1, crashes=0, created=at, updated=at)


def worker(name: str, *, running: int = 0, **extra: str) -> WorkerInfo:
    return WorkerInfo(name, ["a"], concurrency=2, running=running, extra={"version": "1.0", **extra})


def fleet(*runs: RunInfo, workers: tuple[WorkerInfo, ...] = (), **more: Any) -> list[Check]:
    newest_first = sorted(runs, key=lambda info: info.created, reverse=True)
    seen = {"now": NOW, "version": "1.0", "looked_at": len(runs), "all_seen": True}
    return fleet_checks(Fleet(workers=workers, open=newest_first, **seen, **more))


def of(checks: list[Check], name: str) -> list[Check]:
    return [one for one in checks if one.check == name]


def test_runs_that_no_worker_serves_fail_by_agent_with_all_their_ids() -> None:
    runs = [run(f"0-{number}", "queued", agent="b", since=60_000 - number) for number in range(7)]
    (found,) = of(fleet(*runs, run("0-x", "queued"), workers=(worker("w"),)), "unserved")
    assert found.state == "failed"
    assert found.runs == [f"0-{number}" for number in range(7)]
    assert found.what.endswith("the oldest for 1 min: 0-0, 0-1, 0-2, 0-3, 0-4 and 2 more")


@pytest.mark.parametrize(("running", "words"), [(2, "whose workers are all full"), (1, "has a free place")])
def test_runs_that_wait_for_long_are_a_warning_that_says_why(running: int, words: str) -> None:
    (found,) = of(fleet(run("0-1", "queued"), workers=(worker("w", running=running),)), "queue")
    assert (found.state, words in found.what) == ("warning", True)
    assert of(fleet(run("0-1", "queued", since=1000), workers=(worker("w", running=running),)), "queue") == []


def test_a_run_that_waits_for_its_session_is_not_said_to_wait_for_a_worker() -> None:
    held, later = run("0-1", "running", session="s", since=70_000), run("0-2", "queued", session="s")
    serving = (worker("w", running=1),)
    assert of(fleet(held, later, workers=serving, holders={"s": held}), "queue") == []
    (found,) = of(fleet(later, workers=serving, holders={"s": later}), "queue")
    assert found.runs == ["0-2"], "it holds the session itself"


def test_a_session_is_a_warning_only_if_a_paused_run_holds_it() -> None:
    held, later = run("0-1", "running", session="s", since=70_000), run("0-2", "queued", session="s")
    assert of(fleet(held, later, holders={"s": held}), "sessions") == []
    paused = replace(held, state="paused")
    for seen in ([paused, later], [later]):  # the holder may be older than what is looked at
        (found,) = of(fleet(*seen, holders={"s": paused}), "sessions")
        assert (found.state, found.runs) == ("warning", ["0-1", "0-2"])


def test_a_lease_that_has_just_ended_is_left_to_the_next_look_of_a_worker() -> None:
    assert of(fleet(expired={"0-1": 4000}), "leases") == []
    (found,) = of(fleet(expired={"0-1": 4000, "0-2": 6000}), "leases")
    assert (found.state, found.runs) == ("failed", ["0-2"])


def test_workers_of_another_version_are_named() -> None:
    (found,) = of(fleet(workers=(worker("new"), worker("old", version="0.9"))), "versions")
    assert (found.state, "0.9: old; 1.0: new" in found.what) == ("warning", True)
    assert bad(of(fleet(workers=(worker("new"),)), "versions")) == []


def test_the_slowest_runs_are_those_that_run_for_longest() -> None:
    runs = [run(f"0-{age}", "running", since=age) for age in (5, 40, 20, 30)]
    assert [info.run_id for info in slowest_of([*runs, run("0-q", "queued", since=90)])] == ["0-40", "0-30", "0-20"]


@pytest.mark.parametrize(("strict", "codes"), [(False, [0, 0, 1]), (True, [0, 1, 1])])
def test_a_warning_is_an_exit_code_only_if_it_is_asked_for(strict: bool, codes: list[int]) -> None:
    states = [Check(check="one", state=state, what="") for state in ("ok", "warning", "failed")]
    assert [exit_code([one], strict=strict) for one in states] == codes
    assert exit_code([], strict=strict) == 0


def test_ages_and_ids_are_short() -> None:
    assert [age(passed) for passed in (-5, 999, 61_000, 7_200_000, 200_000_000)] == [
        "0 s",
        "0 s",
        "1 min",
        "2 h",
        "2 d",
    ]
    assert named(["1", "2"]) == "1, 2"
    assert named([*"1234567"]) == "1, 2, 3, 4, 5 and 2 more"


def test_a_server_without_runs_is_told_as_such() -> None:
    (found,) = of(fleet(), "runs")
    assert (found.state, found.what) == ("ok", "there are no runs")
