"""`playhead doctor` finds what a server refuses and what a fleet has left, by trying and by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.client import Client
from playhead.client.cli.checks.check import Check
from playhead.client.cli.checks.gather import Examined, examine
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.embedded.topology import EmbeddedCluster
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.rights import acl_rules
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def permit(context: ToolContext) -> str:
    """Ask whether it may be done."""
    return str(context.interrupt("approve", reason="May I?"))


def asks() -> Agent:
    return Agent(ScriptedModel([tool_call("permit", {})], repeat=True), name="asks", tools=[permit])


async def examined(fleet: Fleet, *, limit: int | None = None, url: str = "") -> Examined:
    return await examine(url or fleet.url, prefix=fleet.prefix, limit=limit, strict=False)


def of(found: Examined, check: str) -> list[Check]:
    return [one for one in found.checks if one.check == check]


def failed(found: Examined) -> set[str]:
    return {one.check for one in found.checks if one.state == "failed"}


async def test_a_healthy_server_and_a_worker_fail_nothing_and_leave_no_key(fleet: Fleet) -> None:
    before = await fleet.ask("DBSIZE")
    found = await examined(fleet)
    assert (found.code, failed(found)) == (0, set())
    assert [one.state for name in ("write", "messages") for one in of(found, name)] == ["ok", "ok"]
    assert await fleet.ask("DBSIZE") == before


@pytest.mark.parametrize(
    ("refusing", "words", "do"),
    [
        (("CONFIG", "SET", "maxmemory", "1000"), "maxmemory", "Free memory"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "NOREPLICAS", "min-replicas-to-write"),
        (("REPLICAOF", "127.0.0.1", "1"), "read only replica", "the primary's address"),
    ],
)
async def test_a_server_that_answers_and_refuses_every_write_fails(
    fleet: Fleet, refusing: tuple[str, ...], words: str, do: str
) -> None:
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        await there.ask(*refusing)
        found = await examined(there)
    (write,) = of(found, "write")
    assert (found.code, write.state) == (1, "failed")
    assert words in write.what
    assert do in write.do
    assert of(found, "workers"), "the rest is checked all the same"


async def test_a_user_who_may_only_read_is_told_that_no_write_was_tried(fleet: Fleet) -> None:
    rules = acl_rules("viewer", prefix=fleet.prefix).split()
    await fleet.ask("ACL", "SETUSER", "eye", "reset", "on", ">pw", *rules)
    try:
        found = await examined(fleet, url=fleet.url.replace("redis://", "redis://eye:pw@"))
    finally:
        await fleet.ask("ACL", "DELUSER", "eye")
    (write,) = of(found, "write")
    assert (found.code, write.state, "not tried" in write.what) == (0, "warning", True)
    assert of(found, "runs")[0].state == "ok"


async def test_a_user_with_only_the_rights_of_a_worker_is_told_that_no_run_was_looked_at(fleet: Fleet) -> None:
    rules = acl_rules("worker", prefix=fleet.prefix).split()
    await fleet.ask("ACL", "SETUSER", "hand", "reset", "on", ">pw", *rules)
    try:
        found = await examined(fleet, url=fleet.url.replace("redis://", "redis://hand:pw@"))
    finally:
        await fleet.ask("ACL", "DELUSER", "hand")
    assert (found.code, of(found, "write")[0].state, of(found, "messages")) == (0, "ok", [])
    (runs,) = of(found, "runs")
    assert (runs.state, "the user lacks the rights of a viewer" in runs.what) == ("warning", True)


async def test_the_runs_of_a_worker_that_died_are_found_when_no_worker_is_left(fleet: Fleet) -> None:
    async with fleet.owner() as owner:
        assert of(await examined(fleet), "leases") == []
        await fleet.ask("ZADD", owner.log.keys.leases, 1, owner.id)
        (left,) = of(await examined(fleet), "leases")
        assert (left.state, left.runs) == ("failed", [owner.id])
        await fleet.ask("ZREM", owner.log.keys.leases, owner.id)
        found = await examined(fleet)
        (left,) = of(found, "leases")
        assert (left.state, left.runs, "without a lease" in left.what) == ("failed", [owner.id], True)
        (slowest,) = of(found, "slowest")
        assert f"run {owner.id} of agent" in slowest.what
        assert "its last record is 2 run.claimed" in slowest.what


async def test_a_session_that_a_paused_run_holds_is_told_with_the_runs_that_wait(fleet: Fleet) -> None:
    async with fleet.worker(asks()), fleet.client() as client:
        first = await client.start("asks", "Hi", session_id="ada")
        for _ in range(200):  # a page of runs, after which the first is not looked at
            await client.start("absent", "Hi")
        second = await client.start("asks", "Hi", session_id="ada")

        async def paused() -> bool:
            return (await first.info()).state == "paused"

        await fleet.until(paused)
        (session,) = of(await examined(fleet, limit=200), "sessions")
        assert (session.state, session.runs) == ("warning", [first.id, second.id])
        assert f"playhead respond {first.id} ID=RESPONSE" in session.do


async def test_a_run_is_looked_at_up_to_the_limit_and_this_is_told(fleet: Fleet) -> None:
    async with fleet.client() as client:
        for _ in range(201):  # one more than a page
            await client.start("absent", "Hi")
        some, whole = await examined(fleet, limit=200), await examined(fleet, limit=None)
    assert "looked at 200 runs (the newest; --all looks at all): 200 queued" in of(some, "runs")[0].what
    assert "looked at 201 runs: 201 queued" in of(whole, "runs")[0].what
    assert len(of(whole, "unserved")[0].runs) == 201


async def test_a_worker_announces_its_version_and_the_durability_that_the_server_is_held_to(fleet: Fleet) -> None:
    async with EmbeddedServer.running() as server:
        there = fleet.at(server.url)
        await there.ask("CONFIG", "SET", "appendfsync", "always")
        log = RedisLog(connect(server.url), prefix=fleet.prefix, durability="fsynced")
        async with there.worker(asks(), log=log):
            found = await examined(there)
            assert (found.code, of(found, "versions")[0].state) == (0, "ok")
            assert "a key was written, fsynced and read back" in of(found, "write")[0].what
            await there.ask("CONFIG", "SET", "appendfsync", "everysec")
            assert "durability" in failed(await examined(there))


async def test_shards_on_several_servers_are_checked_each_and_one_that_is_away_is_named(prefix: str) -> None:
    with EmbeddedCluster(node_timeout_ms=60_000) as cluster:
        async with Client(cluster.url, prefix=prefix, shards=4) as client:
            await client.start("absent", "Hi")
        found = await examine(cluster.url, prefix=prefix, limit=None, strict=False)
        assert len({one.shard for one in of(found, "server")}) == len(of(found, "server")) > 1
        assert "on each of 4 shards" in of(found, "write")[0].what
        away = next(shard for shard in range(1, 4) if cluster.owner(prefix, shard=shard) is not cluster.owner(prefix))
        cluster.owner(prefix, shard=away).stop_sync()
        found = await examine(cluster.url, prefix=prefix, limit=None, strict=False)
    assert found.code == 1
    assert away in {one.shard for one in of(found, "server") if one.state == "failed"}
    assert of(found, "runs")[0].what.endswith("a shard cannot be reached")
