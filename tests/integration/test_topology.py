"""Sentinels and clusters: the log is found, found again when it has moved, and an error names the cause."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis.asyncio
from redis import exceptions as redis_errors
from redis.crc import key_slot

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.located_connection import finder_of
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.server_check import check_server, redis_info, tell_topology
from playhead.runtime.log.values import Batch, NewRun, RunEnd, WorkerInfo, WriteStatus
from tests.support.fleet import replicated

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SECRET = "s3cret"
CLAIMED = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
END = encode_record(RunCompleted(at=1, result={}))


async def ask(port: int, *command: Any) -> Any:
    async with redis.asyncio.Redis(port=port, decode_responses=True) as server:
        return await server.execute_command(*command)


async def submit(log: RedisLog) -> str:
    run_id = new_run_id()
    assert await log.submit(NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent")))
    return run_id


async def entering(url: str, prefix: str = "ph") -> None:
    with anyio.fail_after(10):
        async with Client(url, prefix=prefix):
            pass


@pytest.fixture
def own_sentinels() -> Iterator[EmbeddedSentinels]:
    """A primary, a replica and a sentinel, which the test may kill."""
    with EmbeddedSentinels(down_after_ms=300) as servers:
        yield servers


# Errors


async def test_a_service_the_sentinels_do_not_know(sentinels: EmbeddedSentinels) -> None:
    with pytest.raises(LogUnavailableError, match=r"service 'other' of the sentinels .* knows no service of that name"):
        await entering(sentinels.url.replace("/playhead", "/other"))


async def test_no_sentinel_there() -> None:
    with pytest.raises(LogUnavailableError, match=r"service 'x' of .*127.0.0.1:1: .*; 127.0.0.1:2: ") as raised:
        await entering(f"redis+sentinel://:{SECRET}@127.0.0.1:1,127.0.0.1:2/x?sentinel_password={SECRET}")
    assert SECRET not in str(raised.value)


async def test_a_server_that_is_not_a_sentinel(redis_url: str) -> None:
    with pytest.raises(LogUnavailableError, match="is not a sentinel"):
        await entering(f"{redis_url}/main".replace("redis:", "redis+sentinel:"))


async def test_a_sentinel_that_is_taken_for_a_server(sentinels: EmbeddedSentinels) -> None:
    with pytest.raises(LogUnavailableError, match=r"is a sentinel.*use redis\+sentinel://"):
        await entering(f"redis://127.0.0.1:{sentinels.sentinel_ports[0]}")


async def test_a_dead_sentinel_is_passed_over(sentinels: EmbeddedSentinels) -> None:
    await entering(sentinels.url.replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,"))


async def test_credentials_of_sentinels(own_sentinels: EmbeddedSentinels) -> None:
    await ask(own_sentinels.sentinel_ports[0], "ACL", "SETUSER", "default", "resetpass", f">{SECRET}")
    with pytest.raises(RedisAuthError, match=r"sentinel_username=…&sentinel_password=…"):
        await entering(own_sentinels.url)
    with pytest.raises(RedisAuthError) as raised:
        await entering(f"{own_sentinels.url}?sentinel_password=wrong{SECRET}")
    assert SECRET not in str(raised.value)
    await entering(f"{own_sentinels.url}?sentinel_password={SECRET}")


async def test_a_server_that_is_not_a_node_of_a_cluster(redis_url: str) -> None:
    with pytest.raises(LogUnavailableError, match="is not a node of a cluster"):
        await entering(redis_url.replace("redis:", "redis+cluster:"))


async def test_one_node_of_a_cluster_is_not_the_cluster(cluster: EmbeddedCluster, prefix: str) -> None:
    owner = cluster.owner(prefix)
    async with connect(f"redis://127.0.0.1:{owner.port}") as client:
        assert any("redis+cluster://" in warning for warning in await check_server(client))
    other = next(node for node in cluster.nodes if node is not owner)
    log = RedisLog(connect(f"redis://127.0.0.1:{other.port}"), prefix=prefix)
    with pytest.raises(PlayheadError, match=r"is a node of a cluster .* use redis\+cluster://"):
        await log.runs()
    await log.aclose()


async def test_a_cluster_without_an_owner_of_the_slot(prefix: str) -> None:
    with EmbeddedCluster() as cluster:
        owner = cluster.owner(prefix)
        for node in [owner, *(node for node in cluster.nodes if node is not owner)]:  # the others take its view over
            await ask(node.port, "CLUSTER", "DELSLOTS", key_slot(f"{{{prefix}:0}}:".encode()))
        with pytest.raises(LogUnavailableError, match=rf"no node owns slot \d+, where the keys {{{prefix}:0}}:"):
            await entering(cluster.url, prefix)


# What is said of it


async def test_what_a_server_is_a_part_of_is_told(
    redis_url: str, sentinels: EmbeddedSentinels, cluster: EmbeddedCluster, prefix: str
) -> None:
    async def told(url: str) -> str:
        log = RedisLog(connect(url), prefix=prefix)
        try:
            return tell_topology(log.client, await redis_info(log.client) or {})
        finally:
            await log.aclose()

    assert await told(redis_url) == "one server, 0 replicas"
    primary, replica = sentinels.primary.port, sentinels.replicas[0].port
    service = f"service 'playhead' of the sentinels 127.0.0.1:{sentinels.sentinel_ports[0]}"
    assert await told(sentinels.url) == f"127.0.0.1:{primary}, found by {service}, 1 replica"
    assert await told(f"redis://127.0.0.1:{replica}") == "a replica: it takes no writes"
    assert await told(cluster.url) == (
        f"127.0.0.1:{cluster.owner(prefix).port}, found by the cluster of "
        f"{', '.join(f'127.0.0.1:{node.port}' for node in cluster.nodes)}, 0 replicas"
    )


# Moves


async def test_the_log_is_found_again_after_a_failover(own_sentinels: EmbeddedSentinels, prefix: str) -> None:
    log = RedisLog(connect(own_sentinels.url), prefix=prefix)
    run_id = await submit(log)
    await replicated(log)
    os.kill(own_sentinels.primary.pid, signal.SIGKILL)
    with pytest.raises(LogUnavailableError):
        await log.info(run_id)
    await anyio.to_thread.run_sync(own_sentinels.wait_for_failover)
    assert (await log.info(run_id)) is not None
    await submit(log)
    await log.aclose()


async def test_a_server_that_became_a_replica_is_left_at_once(own_sentinels: EmbeddedSentinels, prefix: str) -> None:
    """Without the sentinel's help, which would cut the connections: the refusal of a write is enough."""
    log = RedisLog(connect(own_sentinels.url), prefix=prefix)
    await submit(log)
    other = own_sentinels.replicas[0].port
    await ask(other, "REPLICAOF", "NO", "ONE")
    await ask(own_sentinels.sentinel_ports[0], "SENTINEL", "REMOVE", "playhead")
    await ask(own_sentinels.sentinel_ports[0], "SENTINEL", "MONITOR", "playhead", "127.0.0.1", other, 1)
    await ask(own_sentinels.primary.port, "REPLICAOF", "127.0.0.1", other)
    run_id = await submit(log)
    assert await ask(other, "EXISTS", log.keys.run(run_id)) == 1
    await log.aclose()


async def test_a_replica_is_not_taken_for_the_primary(own_sentinels: EmbeddedSentinels, prefix: str) -> None:
    """A sentinel may name a server that was demoted a moment ago; reading from it would show an old log."""
    await ask(own_sentinels.sentinel_ports[0], "SENTINEL", "REMOVE", "playhead")
    replica = own_sentinels.replicas[0].port
    await ask(own_sentinels.sentinel_ports[0], "SENTINEL", "MONITOR", "playhead", "127.0.0.1", replica, 1)
    log = RedisLog(connect(own_sentinels.url), prefix=prefix)
    with pytest.raises(LogUnavailableError, match=rf"127.0.0.1:{replica} .*says that it is a slave"):
        await log.runs()
    await log.aclose()


@pytest.mark.parametrize("how", ["key by key", "at once"])
async def test_worker_and_client_go_on_when_the_slot_moves_to_another_node(
    fleet: Fleet, held_model: Callable[..., HeldModel], cluster: EmbeddedCluster, how: str
) -> None:
    model = held_model()
    there = fleet.at(cluster.url)
    slot = key_slot(f"{{{fleet.prefix}:0}}:".encode())
    owner = cluster.owner(fleet.prefix)
    target = next(node for node in cluster.nodes if node is not owner)
    async with there.worker(Agent(model, name="agent")) as worker, there.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        await (move if how == "key by key" else move_at_once)(cluster, owner.port, target.port, slot)
        assert cluster.owner(fleet.prefix) is target
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        entries = [entry async for entry in run.records()]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert (await run.info()).epoch == 1
        assert str(await client.invoke_async("agent", "Again")) == f"{model.text}\n"
        await fleet.ended(worker, completed=2)
        finder = finder_of(client.log.client)
        assert finder is not None
        assert finder.found == ("127.0.0.1", target.port)
    assert worker.statistics().ended == {"completed": 2}


@pytest.mark.parametrize("how", ["key by key", "at once"])
async def test_a_tail_subscribes_again_by_itself_when_the_slot_has_moved(
    fleet: Fleet, cluster: EmbeddedCluster, how: str
) -> None:
    """The server gives its channels up; what is published on the other node is received there, without looking."""
    there = fleet.at(cluster.url)
    slot = key_slot(f"{{{fleet.prefix}:0}}:".encode())
    owner = cluster.owner(fleet.prefix)
    target = next(node for node in cluster.nodes if node is not owner)
    async with there.owner() as writer, there.client() as client, anyio.create_task_group() as tasks:
        viewer = there.viewer(client.run(writer.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(writer.head)
        await writer.append("before")
        await viewer.seen(writer.head)
        await (move if how == "key by key" else move_at_once)(cluster, owner.port, target.port, slot)
        with anyio.fail_after(4):  # before a ping would find out
            while await ask(target.port, "PUBSUB", "SHARDNUMSUB", writer.stream) != [writer.stream, 1]:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await viewer.receives_from(writer, client)
        assert client.statistics().reconnects >= 1
        await writer.end()
        await viewer.seen(writer.head)
        viewer.assert_dense(writer.head)


async def test_what_is_published_for_tails_reaches_no_other_node_of_a_cluster(
    fleet: Fleet, cluster: EmbeddedCluster
) -> None:
    there = fleet.at(cluster.url)
    owner = cluster.owner(fleet.prefix)
    other = next(node for node in cluster.nodes if node is not owner)

    async def carried() -> dict[str, str]:
        told = (await ask(other.port, "CLUSTER", "INFO")).splitlines()
        return dict(line.split(":") for line in told if line.startswith("cluster_stats_messages_publish"))

    before = await carried()
    async with (
        there.owner() as writer,
        there.client() as client,
        redis.asyncio.Redis(port=other.port) as elsewhere,
        elsewhere.pubsub() as pubsub,
        anyio.create_task_group() as tasks,
    ):
        await pubsub.subscribe(writer.stream)
        await pubsub.get_message(timeout=5)
        viewer = there.viewer(client.run(writer.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(writer.head)
        for number in range(10):
            await writer.append(str(number))
            await viewer.seen(writer.head)
        assert client.statistics().messages >= 10, "the tail receives them all"
        assert await carried() == before
        await elsewhere.publish(writer.stream, "the first that is received here")
        received: Any = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
        assert received["data"] == b"the first that is received here"
        await writer.end()


async def test_a_client_that_knows_one_node_only_receives_what_the_cluster_publishes(
    fleet: Fleet, cluster: EmbeddedCluster
) -> None:
    """Both sides decide by what the server is, and not by the kind of their URL."""
    owner = cluster.owner(fleet.prefix)
    async with (
        fleet.at(cluster.url).owner() as writer,
        fleet.at(f"redis://127.0.0.1:{owner.port}").client() as client,
        fleet.at(f"redis://127.0.0.1:{owner.port}").owner() as other_writer,
        fleet.at(cluster.url).client() as other_client,
        anyio.create_task_group() as tasks,
    ):
        for ours, theirs in ((client, writer), (other_client, other_writer)):
            viewer = fleet.viewer(ours.run(theirs.id))
            tasks.start_soon(viewer.watch)
            await viewer.seen(theirs.head)
            await viewer.receives_from(theirs, ours)
            assert ours.statistics().messages >= 3
            await theirs.end()


async def test_each_call_is_made_whole_or_not_at_all_while_a_slot_moves_key_by_key(
    cluster: EmbeddedCluster, prefix: str
) -> None:
    """Scripts touch keys that only a run's record can name, and the node refuses those that have left it."""
    log = RedisLog(connect(cluster.url), prefix=prefix)
    first = NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent"), "s")
    second = NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent"), "s")
    await log.submit(first)
    claim = await log.claim(CLAIMED, worker="w", token="t", lease_ms=60_000)
    assert claim is not None
    end = RunEnd(Batch(claim.run_id, "t", claim.head, [END]), "completed", "s", [{"role": "user", "content": []}])
    owner = cluster.owner(prefix)
    target = next(node for node in cluster.nodes if node is not owner)
    slot = key_slot(log.keys.root.encode())
    await ask(owner.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", await ask(target.port, "CLUSTER", "MYID"))
    before = await dump(owner.port, prefix)
    for call in (
        lambda: log.submit(second),
        lambda: log.claim(CLAIMED, worker="w", token="u", lease_ms=60_000),
        lambda: log.finish(end),
        lambda: log.release(end.batch),
        lambda: log.pause(end.batch, interrupts=["i1"]),
        log.reap,
        lambda: log.signal(claim.run_id, Signal("s1", "cancel")),
        lambda: log.announce(WorkerInfo("w", ["agent"]), ttl_ms=60_000),
    ):
        with pytest.raises(LogUnavailableError):
            await call()
    assert await dump(owner.port, prefix) == before
    await ask(owner.port, "CLUSTER", "SETSLOT", slot, "STABLE")
    assert (await log.finish(end)).status == WriteStatus.OK
    assert await log.submit(second)
    await log.aclose()


async def dump(port: int, prefix: str) -> dict[str, bytes]:
    """Every key of the prefix with its value."""
    async with redis.asyncio.Redis(port=port) as server:
        return {str(key): await server.dump(key) or b"" for key in await server.keys(f"*{prefix}*")}


async def move(cluster: EmbeddedCluster, source: int, target: int, slot: int) -> None:
    """Move a slot key by key, as `redis-cli --cluster reshard` does it."""
    ids = {port: await ask(port, "CLUSTER", "MYID") for port in (source, target)}
    await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
        await ask(source, "MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)
    others = [node.port for node in cluster.nodes if node.port not in (source, target)]
    for port in (target, source, *others):
        await ask(port, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])


async def move_at_once(cluster: EmbeddedCluster, source: int, target: int, slot: int) -> None:
    """Move a slot as a whole, as Valkey 9 can."""
    try:
        await ask(
            source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", await ask(target, "CLUSTER", "MYID")
        )
    except redis_errors.ResponseError as error:
        pytest.skip(f"this server cannot: {error}")
    with anyio.fail_after(10):
        while not all([await owns(node.port, target, slot) for node in cluster.nodes]):  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def owns(asked: int, target: int, slot: int) -> bool:
    """Whether the node `target` owns the slot, as the node `asked` knows."""
    ranges = await ask(asked, "CLUSTER", "SLOTS")
    return any(owner[1] == target for first, last, owner, *_ in ranges if first <= slot <= last)
