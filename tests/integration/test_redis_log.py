"""The Redis log on a real server: what only this backend has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from redis import exceptions as redis_errors

from playhead.runtime.core.codec import decode_batch, encode_record
from playhead.runtime.core.errors import ForeignRecordError, LogUnavailableError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import CycleStarted, RunCancelled, RunClaimed, RunFailed, RunSubmitted
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import (
    SESSION_RETENTION_MS,
    Batch,
    Claim,
    NewRun,
    RunEnd,
    WorkerInfo,
    WriteResult,
    WriteStatus,
)

if TYPE_CHECKING:
    from testkit.proxy import Proxy

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = RunClaimed(at=1, worker="w")
FACTS = [CycleStarted(at=2, cycle=1), CycleStarted(at=3, cycle=2)]
FAILED = encode_record(RunFailed(at=4, error_type="WorkerLost", message=""))
CANCELLED = encode_record(RunCancelled(at=5, result={}))
MINUTE = 60_000


@pytest.fixture
async def log(redis_url: str, prefix: str) -> AsyncIterator[RedisLog]:
    redis_log = RedisLog(connect(redis_url), prefix=prefix)
    try:
        yield redis_log
    finally:
        await redis_log.aclose()


async def submitted(log: RedisLog, *, session: str | None = None) -> str:
    run_id = new_run_id()
    assert await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo"), session))
    return run_id


async def claimed(log: RedisLog, token: str, *, lease_ms: int = MINUTE, **limits: Any) -> Claim:
    claim = await log.claim({"echo": encode_record(CLAIMED)}, worker="w", token=token, lease_ms=lease_ms, **limits)
    assert claim is not None
    return claim


def after(claim: Claim, *, ack: int = 0) -> Batch:
    return Batch(claim.run_id, claim.token, claim.head, [encode_record(fact) for fact in FACTS], ack)


async def reaped(log: RedisLog) -> None:
    with anyio.fail_after(10):
        while not await log.reap():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("entry_id", "fields"),
    [
        ("3-1", {"message": "hello"}),
        ("3-1", {"r": CANCELLED, "more": "fields"}),
        ("3-1", {"r": b"\xc1"}),
        ("3-1", {"r": b""}),
        ("3-1", {"r": "text"}),
        ("3-1", {"r": CANCELLED[:-1]}),
        ("*", {"stdout": b"\xff\xfe"}),
    ],
)
async def test_a_foreign_entry_is_named(log: RedisLog, entry_id: str, fields: dict[Any, Any]) -> None:
    run_id = await submitted(log)
    await claimed(log, "t1")
    added: Any = await log.client.xadd(log.keys.log(run_id), fields, id=entry_id)
    for read in (log.read(run_id), log.read_back(run_id, before=2**53)):
        with pytest.raises(ForeignRecordError) as caught:
            await read
        assert log.keys.log(run_id) in str(caught.value)
        assert added.decode() in str(caught.value)
    assert len(await log.read(run_id, limit=2)) == 2


async def test_two_prefixes_share_a_server_without_meeting(log: RedisLog, redis_url: str, prefix: str) -> None:
    other = RedisLog(connect(redis_url), prefix=f"{prefix}x")
    try:
        run_id = await submitted(log)
        await log.announce(WorkerInfo("w", ["echo"]), ttl_ms=MINUTE)
        assert (await other.info(run_id), await other.runs(), await other.workers()) == (None, [], [])
        assert await other.claim({"echo": b"x"}, worker="w", token="t1", lease_ms=MINUTE) is None
        assert (await claimed(log, "t1")).run_id == run_id
    finally:
        await other.aclose()


async def test_a_flushed_script_cache_is_not_noticed(log: RedisLog) -> None:
    run_id = await submitted(log)
    claim = await claimed(log, "t1")
    await log.client.script_flush()
    assert await log.append([after(claim)]) == [WriteResult(WriteStatus.OK, head=4)]
    await log.client.script_flush()
    assert (await log.finish(RunEnd(Batch(run_id, "t1", 4, [CANCELLED]), "cancelled"))).status is WriteStatus.OK


async def test_what_is_appended_is_published_as_it_stands_in_the_log(log: RedisLog) -> None:
    heard: list[tuple[str, list[Any]]] = []
    run_id = new_run_id()
    async with log.client.pubsub() as channel:
        await channel.subscribe(log.keys.log(run_id))
        await channel.get_message(timeout=5)
        submission = RunSubmitted(at=0, agent="echo")
        await log.submit(NewRun(run_id, "echo", submission))
        batch = after(await claimed(log, "t1"))
        for _ in range(2):  # the repeat writes nothing, so it has nothing to tell
            await log.append([batch])
        await log.finish(RunEnd(Batch(run_id, "t1", 4, [CANCELLED]), "cancelled"))
        with anyio.fail_after(10):
            while len(heard) < 4:
                message: Any = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
                head, _, records = message["data"].partition(b"\n")
                place, _, count = head.decode().partition(" ")
                heard.append((place, [record_of(stored) for stored in decode_batch(records, int(count))]))
    places = [(int(seq), int(epoch)) for seq, epoch in (place.split("-") for place, _ in heard)]
    assert places == [(1, 0), (2, 1), (3, 1), (5, 1)]
    assert [records for _, records in heard[:3]] == [[submission], [CLAIMED], FACTS]
    assert [record for _, records in heard for record in records] == [entry.record for entry in await log.read(run_id)]


async def test_a_user_that_may_not_publish_writes_whole_or_not_at_all(log: RedisLog, redis_url: str) -> None:
    """Redis gives a new user no channels. What is published is a copy: the writes that come with it must not fail."""
    name = log.keys.prefix
    await log.client.execute_command("ACL", "SETUSER", name, "on", ">pw", "~*", "+@all", "resetchannels")
    limited = RedisLog(connect(redis_url.replace("redis://", f"redis://{name}:pw@")), prefix=log.keys.prefix)
    try:
        run_id = await submitted(limited)
        batch = after(await claimed(limited, "t1"))
        assert await limited.append([batch]) == [WriteResult(WriteStatus.OK, head=4)]
        assert await limited.signal(run_id, Signal("s1", "cancel")) == "running"
        end = RunEnd(Batch(run_id, "t1", 4, [CANCELLED], ack=1), "cancelled")
        assert (await limited.finish(end)).status is WriteStatus.OK
        assert [entry.seq for entry in await log.read(run_id)] == [1, 2, 3, 4, 5]
    finally:
        await limited.aclose()
        await log.client.execute_command("ACL", "DELUSER", name)


async def test_a_server_clock_that_was_set_back_keeps_the_queue_and_its_order(log: RedisLog) -> None:
    order = [await submitted(log)]
    seconds, microseconds = await log.client.time()
    in_an_hour = (seconds + 3600) * 1_000_000 + microseconds
    await log.client.set(
        log.keys.queue_position, in_an_hour
    )  # as if the last place had been given before the clock was set back
    order += [await submitted(log), await submitted(log)]
    assert [(await claimed(log, f"t{number}")).run_id for number in range(3)] == order


async def test_no_key_outlives_what_it_is_for(log: RedisLog, no_key_leaks: Callable[[], list[str]]) -> None:
    ends: Sequence[Callable[[str], Any]] = [
        lambda token: finished(log, token),
        lambda token: crashed(log, token),
        lambda token: cancelled_while_queued(log),
    ]
    for number, end in enumerate(ends):
        await submitted(log, session="ada")
        await submitted(log, session="ada")
        for attempt in range(2):
            await end(f"t{number}{attempt}")
        assert no_key_leaks() == []
    await log.announce(WorkerInfo("w", ["echo"]), ttl_ms=MINUTE)
    await log.withdraw("w")


async def finished(log: RedisLog, token: str) -> None:
    claim = await claimed(log, f"{token}-first")
    await log.signal(claim.run_id, Signal("s1", "steer"))
    await log.release(after(claim))
    again = await claimed(log, token)
    await log.signal(claim.run_id, Signal("s2", "steer"))
    end = RunEnd(after(again, ack=2), "completed", "ada", [{"role": "user", "content": [{"text": "hi"}]}], MINUTE)
    assert (await log.finish(end)).status is WriteStatus.OK
    assert 0 < await log.client.pttl(log.keys.log(claim.run_id)) <= MINUTE


async def crashed(log: RedisLog, token: str) -> None:
    claim = await claimed(log, token, lease_ms=1)
    await log.signal(claim.run_id, Signal("s1", "cancel"))
    await reaped(log)


async def cancelled_while_queued(log: RedisLog) -> None:
    for info in await log.runs():
        await log.signal(info.run_id, Signal("s1", "cancel"))


async def test_notifications_that_no_worker_takes_do_not_pile_up(log: RedisLog) -> None:
    for _ in range(120):
        await submitted(log)
    claim = await claimed(log, "t1")
    for number in range(120):
        await log.signal(claim.run_id, Signal(f"s{number}", "steer"))
    for notifications in (log.keys.notify_agent("echo"), log.keys.notify_worker("w")):
        assert await log.client.execute_command("LLEN", notifications) == 100
        assert await log.client.pttl(notifications) > 0


async def test_workers_that_fell_silent_are_forgotten(log: RedisLog) -> None:
    await log.announce(WorkerInfo("w1", ["echo"]), ttl_ms=1)
    with anyio.fail_after(10):
        while await log.client.zcard(log.keys.workers) != 1 or await log.workers():
            await anyio.lowlevel.checkpoint()
        while await log.client.zscore(log.keys.workers, "w1") is not None:
            await log.announce(WorkerInfo("w2", ["echo"]), ttl_ms=MINUTE)
    assert await log.workers() == [WorkerInfo("w2", ["echo"])]


async def test_a_server_that_is_not_there_is_named(prefix: str) -> None:
    log = RedisLog(connect("redis://:s3cret@127.0.0.1:1"), prefix=prefix)
    try:
        with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1\b") as caught:
            await log.read(new_run_id())
        assert "s3cret" not in str(caught.value)
        with pytest.raises(LogUnavailableError):
            await log.submit(NewRun(new_run_id(), "echo", RunSubmitted(at=0, agent="echo")))
    finally:
        await log.aclose()


async def ttl(log: RedisLog, key: str) -> int:
    left: Any = await log.client.execute_command("PTTL", key)
    return int(left)


async def test_a_caller_cancelled_while_it_connects_for_all_leaves_it_to_the_next(redis_url: str, prefix: str) -> None:
    log = RedisLog(connect(redis_url), prefix=prefix)
    turns: list[asyncio.Task[Any]] = []

    try:
        turns += [asyncio.create_task(log.info("none")) for _ in range(3)]
        await anyio.lowlevel.checkpoint()
        turns[0].cancel()
        with anyio.fail_after(5):
            assert await turns[1] is None
            assert await turns[2] is None
        assert turns[0].cancelled()
    finally:
        await log.aclose()


async def test_a_client_that_may_have_no_more_connections_is_told_so_and_not_that_redis_is_away(
    redis_url: str, prefix: str
) -> None:
    log = RedisLog(connect(redis_url), prefix=prefix)
    pool: Any = log.client.connection_pool
    pool.max_connections = 1
    taken = await pool.get_connection()
    with pytest.raises(LogUnavailableError, match="the client given may have 1, and a log takes up to 3") as refused:
        await log.info("none")
    assert "Is it running?" not in str(refused.value)
    await pool.release(taken)
    assert await log.info("none") is None
    await log.aclose()


async def test_no_caller_of_a_server_that_hangs_waits_for_all_before_it(proxy: Proxy, prefix: str) -> None:
    log = RedisLog(connect(proxy.url, timeout=1), prefix=prefix)
    refused: list[LogUnavailableError] = []

    async def call() -> None:
        with pytest.raises(LogUnavailableError) as error:
            await log.info("none")
        refused.append(error.value)

    try:
        await log.info("none")
        proxy.hold()
        with anyio.fail_after(10):  # one after the other it would be 20 s
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(call)
        assert len(refused) == 20
        proxy.release()
        assert await log.info("none") is None
    finally:
        await log.aclose()


async def test_a_conversation_has_a_ttl_unless_a_run_holds_it(log: RedisLog) -> None:
    messages = log.keys.messages("ada")
    await submitted(log, session="ada")
    claim = await claimed(log, "t1")
    await log.finish(RunEnd(after(claim), "completed", "ada", [{"role": "user", "content": []}]))
    assert SESSION_RETENTION_MS - MINUTE < await ttl(log, messages) <= SESSION_RETENTION_MS
    first, _ = await submitted(log, session="ada"), await submitted(log, session="ada")
    assert await ttl(log, messages) == -1
    claim = await claimed(log, "t2")
    assert claim.run_id == first
    await log.finish(RunEnd(after(claim), "completed", "ada"))
    assert await ttl(log, messages) == -1, "the session's next run holds it now"
    await log.finish(RunEnd(after(await claimed(log, "t3")), "completed", "ada"))
    assert await ttl(log, messages) > 0


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_link_that_its_other_end_closed_a_moment_ago_is_a_lost_link_on_every_event_loop(
    redis_url: str, use_uvloop: bool
) -> None:
    if use_uvloop:
        pytest.importorskip("uvloop")

    async def ping(connection: Any) -> None:
        await connection.send_command("PING", check_health=False)
        await connection.read_response()

    async def main() -> None:
        client = connect(redis_url)
        try:
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            connection._writer.transport.abort()  # the state between the arrival of a reset and the next read
            while connection._reader.exception() is None and not connection._reader.at_eof():
                await anyio.lowlevel.checkpoint()
            with pytest.raises(redis_errors.ConnectionError):
                await ping(connection)
            await pool.release(connection)
            assert await RedisLog(client, prefix="p").info("none") is None, "the next call has a new link"
        finally:
            await client.aclose()

    anyio.run(main, backend_options={"use_uvloop": use_uvloop})
