"""`durability`: an acknowledged write has reached what was asked for, also when the call was sent again."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import redis.asyncio

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisTooOldError, UnusableServerError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.embedded.topology import EmbeddedSentinels
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd, WriteResult, WriteStatus
from playhead.runtime.models import ScriptedModel
from playhead.workers import Worker

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
FACT = encode_record(CycleStarted(at=2, cycle=1))
END = encode_record(RunCompleted(at=3, result={}))


@pytest.fixture(scope="module")
def pair() -> Iterator[EmbeddedSentinels]:
    """A primary and its replica, without a sentinel, so that no failover happens."""
    with EmbeddedSentinels(sentinels=0) as servers:
        yield servers


@pytest.fixture
def stopped(pair: EmbeddedSentinels) -> Iterator[Callable[[], None]]:
    """The replica receives nothing until the value is called."""
    pid = pair.replicas[0].pid
    os.kill(pid, signal.SIGSTOP)

    def go() -> None:
        os.kill(pid, signal.SIGCONT)

    try:
        yield go
    finally:
        go()


def log_on(server: EmbeddedServer, prefix: str, durability: Durability) -> RedisLog:
    return RedisLog(connect(server.url), prefix=prefix, durability=durability)


async def command(server: EmbeddedServer, *words: Any) -> Any:
    async with redis.asyncio.Redis(port=server.port) as admin:
        return await admin.execute_command(*words)


async def waits(server: EmbeddedServer) -> set[str]:
    """Which of the commands that wait the server was given since its statistics were reset."""
    async with redis.asyncio.Redis(port=server.port) as admin:
        counted: dict[str, Any] = await admin.info("commandstats")
    return {"cmdstat_wait", "cmdstat_waitaof"} & counted.keys()


async def owned(server: EmbeddedServer, prefix: str) -> Claim:
    """A fresh run and its owner's claim, made by a log that waits for nothing."""
    log = log_on(server, prefix, "memory")
    await log.submit(NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent")))
    claim = await log.claim(CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
    await log.aclose()
    assert claim is not None
    return claim


def batch(claim: Claim, record: bytes = FACT) -> Batch:
    return Batch(claim.run_id, claim.token, claim.head, [record])


async def test_no_write_is_acknowledged_before_a_replica_has_it_not_even_when_it_is_sent_again(
    pair: EmbeddedSentinels, prefix: str, stopped: Callable[[], None]
) -> None:
    """A repeat writes nothing, and another connection has written nothing before: a bare `WAIT` returns at once."""
    runs = [await owned(pair.primary, prefix) for _ in range(5)]
    fresh, sent = NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent")), Signal("s1", "cancel")
    calls: list[Callable[[RedisLog], Awaitable[Any]]] = [
        lambda log: log.submit(fresh),
        lambda log: log.append([batch(runs[0])]),
        lambda log: log.finish(RunEnd(batch(runs[1], END), "completed")),
        lambda log: log.release(batch(runs[2])),
        lambda log: log.pause(batch(runs[3]), interrupts=["i1"]),
        lambda log: log.signal(runs[4].run_id, sent),
    ]
    log = log_on(pair.primary, prefix, "replicated")

    async def refused(log: RedisLog, call: Callable[[RedisLog], Awaitable[Any]]) -> None:
        with pytest.raises(LogUnavailableError, match=r"durability `replicated`: written, but no replica had it"):
            await call(log)

    for each in (log, log.clone()):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(refused, each, call)
        await each.aclose()
    stopped()
    submitted, appended, finished, released, paused, signalled = [await call(log) for call in calls]
    assert submitted is False
    assert appended == [WriteResult(WriteStatus.DUP, 3, 0)]
    assert [finished.status, released.status, paused.status, signalled] == [
        WriteStatus.DUP,
        WriteStatus.DUP,
        WriteStatus.DUP,
        "running",
    ]
    replica = log_on(pair.replicas[0], prefix, "memory")
    assert len(await replica.read(runs[0].run_id)) == 3
    assert (await replica.info(fresh.run_id)) is not None
    await log.aclose()
    await replica.aclose()


async def test_a_full_server_acknowledges_no_repeat_that_its_replica_lacks(
    pair: EmbeddedSentinels, prefix: str, stopped: Callable[[], None]
) -> None:
    """It replies to a repeat, which writes nothing, but refuses the marker: `WAIT` would count by an older write."""
    appended = batch(await owned(pair.primary, prefix))
    first = log_on(pair.primary, prefix, "memory")
    await first.append([appended])
    await first.aclose()
    log = log_on(pair.primary, prefix, "replicated")
    await command(pair.primary, "CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(LogUnavailableError, match="cannot take writes now"):
            await log.append([appended])
    finally:
        await command(pair.primary, "CONFIG", "SET", "maxmemory", 0)
    stopped()
    assert await log.append([appended]) == [WriteResult(WriteStatus.DUP, 3, 0)]
    await log.aclose()


async def test_writes_that_come_while_one_is_waited_for_are_waited_for_together(
    pair: EmbeddedSentinels, prefix: str, stopped: Callable[[], None]
) -> None:
    """One after the other, the last of them would be told after twenty seconds that no replica had it."""
    log = log_on(pair.primary, prefix, "replicated")

    async def refused() -> None:
        with pytest.raises(LogUnavailableError, match="no replica had it within 1000 ms"):
            await log.submit(NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent")))

    with anyio.fail_after(8):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(refused)
    stopped()
    assert len(await log.runs()) == 20
    await log.aclose()


async def test_a_claim_is_answered_though_no_replica_has_it(
    pair: EmbeddedSentinels, prefix: str, stopped: Callable[[], None]
) -> None:
    """Else it would be claimed and not owned until its lease ends, and count as a crash each time."""
    waiting = log_on(pair.primary, prefix, "memory")
    await waiting.submit(NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent")))
    await waiting.aclose()
    await command(pair.primary, "CONFIG", "RESETSTAT")
    log = log_on(pair.primary, prefix, "replicated")
    assert await log.claim(CLAIMED, worker="w", token=new_token(), lease_ms=60_000) is not None
    await log.aclose()
    assert not await waits(pair.primary)


async def test_what_is_on_disk_is_acknowledged(prefix: str) -> None:
    async with EmbeddedServer.running(extra_args=("--appendfsync", "always")) as server:
        async with Client(server.url, durability="fsynced") as client:
            assert await client.runs() == []
        log = log_on(server, prefix, "fsynced")
        claim = await owned(server, prefix)
        assert await log.append([batch(claim)]) == [WriteResult(WriteStatus.OK, 3, 0)]
        assert await log.append([batch(claim)]) == [WriteResult(WriteStatus.DUP, 3, 0)]
        await log.client.script_flush()
        assert (
            await log.finish(RunEnd(Batch(claim.run_id, claim.token, 3, [END]), "completed"))
        ).status == WriteStatus.OK
        await log.aclose()


async def test_what_is_not_on_disk_is_not_acknowledged(prefix: str) -> None:
    async with EmbeddedServer.running(extra_args=("--appendfsync", "no")) as server:
        log = log_on(server, prefix, "fsynced")
        claim = await owned(server, prefix)
        with pytest.raises(LogUnavailableError, match="durability `fsynced`: written, but not on disk"):
            await log.append([batch(claim)])
        await command(server, "CONFIG", "SET", "appendfsync", "always")
        assert await log.append([batch(claim)]) == [WriteResult(WriteStatus.DUP, 3, 0)]
        await command(server, "CONFIG", "SET", "appendonly", "no")
        with pytest.raises(LogUnavailableError, match="WAITAOF cannot be used"):
            await log.append([batch(claim)])
        await log.aclose()


async def test_memory_waits_for_nothing(pair: EmbeddedSentinels, prefix: str, stopped: Callable[[], None]) -> None:
    await command(pair.primary, "CONFIG", "RESETSTAT")
    log = log_on(pair.primary, prefix, "memory")
    claim = await owned(pair.primary, prefix)
    await log.finish(RunEnd(batch(claim, END), "completed"))
    await log.aclose()
    assert not await waits(pair.primary)
    assert await command(pair.primary, "EXISTS", log.keys.durability_marker) == 0


async def refuses(url: str, durability: Durability, error: type[Exception], match: str) -> None:
    async with connect(url) as client:
        with pytest.raises(error, match=match):
            await check_server(client, durability=durability)


async def test_a_server_that_cannot_is_refused_at_the_start(pair: EmbeddedSentinels, redis_url: str) -> None:
    await refuses(redis_url, "replicated", LogUnavailableError, "`replicated`: .* has no replica")
    await refuses(redis_url, "fsynced", LogUnavailableError, "`fsynced`: .* has appendonly off.* Set appendonly yes")
    async with EmbeddedServer.running() as server:
        await refuses(
            server.url, "fsynced", LogUnavailableError, "`fsynced`: .* has appendfsync everysec.* Set appendf"
        )
    async with connect(pair.primary.url) as client:
        assert any("appendonly is off" in warning for warning in await check_server(client, durability="replicated"))
    with pytest.raises(LogUnavailableError, match="has no replica"):
        async with Client(redis_url, durability="replicated"):
            pass


async def test_a_client_opened_again_for_another_event_loop_asks_for_the_same_durability(redis_url: str) -> None:
    again = Client(redis_url, durability="fsynced").clone()
    with pytest.raises(PlayheadError, match="fsynced"):  # this server cannot give it
        async with again:
            pass


@pytest.mark.parametrize(
    ("durability", "arguments", "error", "match"),
    [
        ("replicated", (), UnusableServerError, "`replicated`: .* has no replica"),
        ("fsynced", ("--appendonly", "no"), UnusableServerError, "`fsynced`: .* has appendonly off"),
        ("fsynced", ("--rename-command", "WAITAOF", ""), RedisTooOldError, "`fsynced`: .* has no WAITAOF"),
    ],
)
async def test_every_worker_refuses_a_server_that_cannot_and_claims_nothing_there(
    prefix: str, durability: Durability, arguments: tuple[str, ...], error: type[Exception], match: str
) -> None:
    agent = Agent(ScriptedModel(["Done."]), name="agent", callback_handler=None)
    async with EmbeddedServer.running(extra_args=arguments) as server:
        plain = log_on(server, prefix, "memory")
        new = NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent"))
        await plain.submit(new)
        log = log_on(server, prefix, durability)
        with pytest.raises(error, match=match):
            await Worker([agent], log=log).run()
        info = await plain.info(new.run_id)
        assert info is not None
        assert info.state == "queued"
        await log.aclose()
        await plain.aclose()
