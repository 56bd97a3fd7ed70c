"""Shards on the nodes of a real cluster: each node has its own, and one that is killed costs no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest
import redis.asyncio

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.embedded.topology import EmbeddedCluster
from playhead.runtime.log.redis.shards import shard_of_run, shard_of_session
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

T = TypeVar("T")

SHARDS = 3


def spread(fleet: Fleet, cluster: EmbeddedCluster) -> Fleet:
    """The fleet on the cluster, with a prefix by which each node has one shard."""
    number = 0
    while True:
        there = type(fleet)(cluster.url, f"{fleet.prefix}{number}")
        if len({cluster.owner(there.prefix, shard=shard).port for shard in range(SHARDS)}) == SHARDS:
            return there
        number += 1


def echo() -> Agent:
    return Agent(ScriptedModel(["hello"], repeat=True), name="agent", callback_handler=None)


def session_of(shard: int) -> str:
    return next(name for name in map(str, range(100)) if shard_of_session(name, shards=SHARDS) == shard)


async def keys_on(port: int, prefix: str) -> set[str]:
    """The hash tags of the keys that a node has."""
    async with redis.asyncio.Redis(port=port, decode_responses=True) as node:
        return {str(key).partition("}")[0] for key in await node.keys(f"{{{prefix}:*")}


@pytest.fixture
def own_cluster() -> Iterator[EmbeddedCluster]:
    """Three nodes with a replica each, which the test may kill."""
    with EmbeddedCluster(replicas=1, node_timeout_ms=500) as servers:
        yield servers


async def test_each_node_has_a_shard_and_one_worker_and_one_client_serve_all(
    fleet: Fleet, cluster: EmbeddedCluster
) -> None:
    there = spread(fleet, cluster)
    async with (
        there.client(shards=SHARDS) as client,
        there.worker(echo(), more=there.logs(range(1, SHARDS))) as worker,
        there.client(name="other") as other,
    ):
        for shard in range(SHARDS):
            session = session_of(shard)
            for _ in range(2):
                run = await client.start("agent", "Hi", session_id=session)
                assert shard_of_run(run.id) == shard
                entries = [entry async for entry in run.records()]
                assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
                rejoined = [entry async for entry in other.run(run.id).records(after=entries[2].cursor)]
                assert rejoined == entries[3:]
            assert len(await other.reader.messages(session)) == 4
        await fleet.ended(worker, completed=6)
        assert len(await other.runs()) == 6
        assert [info.worker for info in await other.workers()] == [worker.name]
    tags = [await keys_on(node.port, there.prefix) for node in cluster.nodes]
    assert sorted(map(len, tags)) == [1, 1, 1]
    assert set().union(*tags) == {f"{{{there.prefix}:{shard}" for shard in range(SHARDS)}


async def test_tails_on_all_nodes_receive_what_is_published_there(fleet: Fleet, cluster: EmbeddedCluster) -> None:
    there = spread(fleet, cluster)
    async with there.client(shards=SHARDS) as client, anyio.create_task_group() as tasks:
        for shard in range(SHARDS):
            async with there.owner(shard=shard) as owner:
                viewer = there.viewer(client.run(owner.id))
                tasks.start_soon(viewer.watch)
                await viewer.seen(owner.head)
                await viewer.receives_from(owner, client)
                await owner.end()
                await viewer.seen(owner.head)
                viewer.assert_dense(owner.head)
        assert client.statistics().messages >= 3 * SHARDS


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the call gives once its shard, which may be down for a while, replies."""
    while True:
        try:
            return await call()
        except LogUnavailableError:
            await anyio.sleep(0.05)


async def answered(client: Client, agent: str, shard: int) -> str:
    """What a new run on a shard comes to."""
    run_id = new_run_id(shard=shard)
    run = await patiently(lambda: client.start(agent, "Hi", run_id=run_id))
    return str(await patiently(run.result))


async def test_a_killed_node_costs_only_its_own_shards_runs_and_those_for_a_while(
    fleet: Fleet, own_cluster: EmbeddedCluster, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    held = Agent(model, name="held", callback_handler=None)
    there = spread(fleet, own_cluster)
    for server in (*own_cluster.nodes, *own_cluster.replicas):
        await ask(server.port, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    async with (
        there.client(shards=SHARDS) as client,
        there.worker(echo(), held, more=there.logs(range(1, SHARDS)), lease_ms=5000),
    ):
        killed = await client.start("held", "Hi", run_id=new_run_id(shard=1))
        await model.held.wait()
        victim = own_cluster.owner(there.prefix, shard=1)
        os.kill(victim.pid, signal.SIGKILL)
        model.go.set()
        for _ in range(5):
            for shard in (0, 2):
                with anyio.fail_after(2):
                    assert await answered(client, "agent", shard) == "hello\n"
        assert str(await patiently(killed.result)) == f"{model.text}\n"
        assert await answered(client, "agent", 1) == "hello\n"
        assert own_cluster.owner(there.prefix, shard=1) is not victim


async def ask(port: int, *command: Any) -> Any:
    async with redis.asyncio.Redis(port=port, decode_responses=True) as server:
        return await server.execute_command(*command)
