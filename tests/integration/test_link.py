"""One connection for all calls: order, time limits, loss and return, space, closing; on both event loops, over TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import redis
import trustme
from redis import exceptions as redis_errors

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunSubmitted
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.embedded.topology import EmbeddedCluster
from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.link import Link
from playhead.runtime.log.redis.located_connection import finder_of
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, NewRun, WriteResult, WriteStatus

if TYPE_CHECKING:
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
FACT = encode_record(CycleStarted(at=2, cycle=1))
LARGE_FACT = encode_record(RunSubmitted(at=2, agent="a", prompt="".join(map(str, range(600)))))
"""2,000 of them, 3.4 MB, are more than the buffers of a socket hold."""
MIB = 1 << 20


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncGenerator[Link]:
    """A link of its own, for the length of the block."""
    client = connect(url, **options)
    link = await Link.open(client)
    try:
        with anyio.fail_after(15):
            yield link
    finally:
        await link.aclose()
        await client.aclose()


@asynccontextmanager
async def commands_of(url: str, **options: Any) -> AsyncGenerator[Commands]:
    """Commands over a link of their own, for the length of the block."""
    client = connect(url, **options)
    commands = Commands(client)
    try:
        with anyio.fail_after(15):
            yield commands
    finally:
        await commands.aclose()
        await client.aclose()


async def owned(log: RedisLog) -> Batch:
    """A batch by the owner of a fresh run."""
    await log.submit(NewRun(new_run_id(), "agent", RunSubmitted(at=1, agent="agent")))
    claim = await log.claim(CLAIMED, worker="w", token="t", lease_ms=60_000)
    assert claim is not None
    return Batch(claim.run_id, "t", claim.head, [FACT])


# Calls and their replies


async def test_replies_come_in_the_order_of_the_calls_errors_too(redis_url: str) -> None:
    async with opened(redis_url) as link:
        sent = [link.call("ECHO", str(number)) if number % 10 else link.call("NO-SUCH") for number in range(1000)]
        for number, future in enumerate(sent):
            if number % 10:
                assert await future == str(number).encode()
            else:
                with pytest.raises(redis_errors.ResponseError, match="unknown command"):
                    await future
        assert link.lost is None


async def test_a_call_is_written_before_it_returns(redis_url: str, prefix: str) -> None:
    """Seen by a client that blocks the event loop, so that no task and no callback can help."""
    log = RedisLog(connect(redis_url), prefix=prefix)
    batch = await owned(log)
    assert await log.append([batch]) == [WriteResult(WriteStatus.OK, 3)]  # from now on the server knows the script
    appended = log.append([replace(batch, head=3)])
    with redis.Redis.from_url(redis_url) as other:
        until = time.monotonic() + 5
        while other.hget(log.keys.run(batch.run_id), "head") != b"4":
            assert time.monotonic() < until
    assert await appended == [WriteResult(WriteStatus.OK, 4)]
    await log.aclose()


async def test_an_append_over_a_link_that_is_not_up_yet_is_written_when_it_is_awaited(
    redis_url: str, prefix: str
) -> None:
    log, other = RedisLog(connect(redis_url), prefix=prefix), RedisLog(connect(redis_url), prefix=prefix)
    batch = await owned(log)
    dropped = other.append([batch])  # and never awaited: it gives no warning
    del dropped
    assert await other.append([batch]) == [WriteResult(WriteStatus.OK, 3)]
    await log.aclose()
    await other.aclose()


async def test_a_caller_that_is_cancelled_loses_its_reply_and_disturbs_no_other(redis_url: str) -> None:
    async with opened(redis_url) as link:
        replies: list[bytes] = []

        async def ask(number: int) -> None:
            replies.append(await link.call("ECHO", str(number)))

        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in range(10)]

            async def cancelled(number: int) -> None:
                with scopes[number]:
                    await ask(number)

            for number in range(10):
                tasks.start_soon(cancelled, number)
            await anyio.lowlevel.checkpoint()  # all are written
            for number in range(0, 10, 2):
                scopes[number].cancel()
        assert replies == [b"1", b"3", b"5", b"7", b"9"]
        assert await link.call("ECHO", "next") == b"next"


@pytest.mark.parametrize("size", [0, MIB, 20 * MIB])
async def test_a_reply_may_be_large(redis_url: str, prefix: str, size: int) -> None:
    async with opened(redis_url) as link:
        value = os.urandom(size)
        assert await link.call("SET", prefix, value, "PX", 60_000) == b"OK"
        first, second = link.call("GET", prefix), link.call("STRLEN", prefix)
        assert await second == size
        assert await first == value


# Loss


async def test_a_link_cut_in_the_middle_of_calls_fails_them_all(proxy: Proxy) -> None:
    async with opened(proxy.url) as link:
        assert await link.call("PING") == b"PONG"
        proxy.hold()
        sent = [link.call("PING") for _ in range(3)]
        await proxy.held.wait()
        proxy.cut()
        for future in sent:
            with pytest.raises(redis_errors.ConnectionError):
                await future
        with pytest.raises(redis_errors.ConnectionError):
            await link.failed()
        with pytest.raises(redis_errors.ConnectionError):
            await link.call("PING")
        proxy.release()


async def test_a_reply_that_is_late_ends_the_link_and_all_its_calls(proxy: Proxy) -> None:
    async with opened(proxy.url, timeout=0.5) as link:
        for _ in range(3):
            await link.call("PING")
        proxy.hold()
        began = time.monotonic()
        sent = [link.call("PING")]
        await proxy.held.wait()
        sent.append(link.call("PING"))
        for future in sent:
            with pytest.raises(redis_errors.TimeoutError, match=r"no answer within 0\.5 s"):
                await future
        assert 0.5 <= time.monotonic() - began < 5
        assert isinstance(link.lost, redis_errors.TimeoutError)
        proxy.release()


async def test_a_slow_call_is_not_late_because_of_those_before_it(redis_url: str) -> None:
    """The time counts from when a call was written, and a link that is used without pause never rests."""
    async with opened(redis_url, timeout=0.5) as link:
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert await link.call("PING") == b"PONG"
        assert await link.call("BLPOP", "nothing", 0.2) is None
        assert link.lost is None


async def test_a_lost_link_is_made_again_once_for_all_callers(fleet: Fleet) -> None:
    async with commands_of(fleet.named("one")) as commands:
        for _ in range(3):
            sent = [commands.send("ECHO", str(number)) for number in range(50)]
            assert [await one for one in sent] == [str(number).encode() for number in range(50)]
            (link,) = await fleet.connections("one")
            assert await fleet.ask("CLIENT", "KILL", "ID", link["id"]) == 1
            while commands.ready:
                await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(commands.connect)
        assert len(await fleet.connections("one")) == 1


async def test_all_callers_that_wait_for_a_link_share_its_failure() -> None:
    """One after the other, the last would wait for as many time limits as there are callers."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    taken = 0

    async def accept(stream: Any) -> None:
        nonlocal taken
        taken += 1
        async with stream:
            await anyio.sleep_forever()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, accept)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        log = RedisLog(connect(f"redis://127.0.0.1:{port}?socket_connect_timeout=0.5", timeout=0.5))

        async def call() -> None:
            with pytest.raises(LogUnavailableError):
                await log.info("none")

        with anyio.fail_after(5):
            async with anyio.create_task_group() as calls:
                for _ in range(100):
                    calls.start_soon(call)
        assert taken == 1
        await log.aclose()
        tasks.cancel_scope.cancel()


async def test_a_link_that_is_replaced_still_gives_the_replies_it_owes(cluster: EmbeddedCluster, prefix: str) -> None:
    """Another connection of the same finder was lost: calls that go well do not fail by it."""
    client = connect(f"{cluster.url}?client_name={prefix}")
    log = RedisLog(client, prefix=prefix)
    finder = finder_of(client)
    assert finder is not None
    await log.info("none")
    with redis.Redis(port=cluster.owner(prefix).port) as owner:
        owner.client_pause(400, all=False)
        submitted = asyncio.ensure_future(log.submit(NewRun("r1", "agent", RunSubmitted(at=1, agent="agent"))))
        await anyio.lowlevel.checkpoint()
        finder.lost(finder.generation)
        assert await log.info("none") is None, "by a new link, and before the pause is over"
        assert not submitted.done()
        assert await submitted
        while len([one for one in owner.client_list() if one["name"] == prefix]) != 1:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    await log.aclose()


# Space


async def test_calls_are_queued_for_a_server_that_does_not_read_and_keep_their_order(prefix: str) -> None:
    async with EmbeddedServer.running(durable=False) as server, commands_of(server.url) as commands:
        await commands.connect()
        order: list[int] = []

        async def ask(number: int) -> None:
            await commands.send("SET", f"{prefix}{number}", b"x" * MIB)
            order.append(number)

        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as tasks:
                for number in range(60):
                    tasks.start_soon(ask, number)
                while commands.ready:
                    await anyio.lowlevel.checkpoint()
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                assert commands.unsent < 10 * MIB, "of 60"
                os.kill(server.pid, signal.SIGCONT)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert order == list(range(60))
        assert commands.ready


async def test_a_caller_that_leaves_the_queue_holds_up_no_other(prefix: str) -> None:
    async with EmbeddedServer.running(durable=False) as server, commands_of(server.url) as commands:
        await commands.connect()
        stored: list[int] = []

        async def ask(number: int) -> None:
            await commands.send("SET", f"{prefix}{number}", b"x" * MIB)
            stored.append(number)

        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as others:
                async with anyio.create_task_group() as leavers:
                    for number in range(60):
                        (leavers if number % 2 else others).start_soon(ask, number)
                    while commands.ready:
                        await anyio.lowlevel.checkpoint()
                    leavers.cancel_scope.cancel()
                os.kill(server.pid, signal.SIGCONT)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert stored == list(range(0, 60, 2))


async def test_a_caller_that_waits_for_space_on_a_link_that_is_lost_is_told(prefix: str) -> None:
    async with EmbeddedServer.running(durable=False) as server, commands_of(server.url, timeout=0.5) as commands:
        await commands.connect()
        told: list[Exception] = []

        async def ask(number: int) -> None:
            try:
                await commands.send("SET", f"{prefix}{number}", b"x" * MIB)
            except redis_errors.RedisError as error:
                told.append(error)

        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as tasks:
                for number in range(60):
                    tasks.start_soon(ask, number)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert [type(error) for error in told] == [redis_errors.TimeoutError] * 60


# Closing


def descriptors() -> int:
    """Open files and sockets of this process."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc")
async def test_what_is_closed_has_no_socket_any_more(redis_url: str) -> None:
    client = connect(redis_url)
    before = descriptors()
    link = await Link.open(client)
    assert await link.call("PING") == b"PONG"
    owed = link.call("PING")
    await link.aclose()
    assert descriptors() == before
    with pytest.raises(redis_errors.ConnectionError, match="closed by its owner"):
        await owed
    await link.aclose()
    await client.aclose()


async def test_closing_the_client_alone_closes_the_links_of_a_log_and_does_not_wait_in_vain(fleet: Fleet) -> None:
    log = fleet.log("alone")
    assert await log.info("none") is None
    with anyio.fail_after(2):
        await log.client.aclose()
    assert await fleet.connections("alone") == []
    assert await log.info("none") is None, "and a later call connects again, as redis-py does it"
    await log.aclose()


# Everywhere


@asynccontextmanager
async def tls_before(port: int, folder: Path) -> AsyncGenerator[str]:
    """The URL of a server that ends TLS before that port, by a certificate made for it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    links: set[asyncio.StreamWriter] = set()

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    async def serve(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection("127.0.0.1", port)
        links.update((near_out, far_out))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carry, near_in, far_out)
            tasks.start_soon(carry, far_in, near_out)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        tls_port = server.sockets[0].getsockname()[1]
        yield f"rediss://localhost:{tls_port}?ssl_ca_certs={folder / 'ca.pem'}"
        for link in links:
            link.close()


async def everything(url: str, prefix: str, cut: Callable[[], Awaitable[Any]]) -> None:
    """What a log does with its link: calls at once, large ones, one after the link was lost, and its end."""
    log = RedisLog(connect(url), prefix=prefix)
    try:
        with anyio.fail_after(15):
            batch = await owned(log)
            appended, read = log.append([batch]), log.read(batch.run_id)
            assert await appended == [WriteResult(WriteStatus.OK, 3)]
            assert len(await read) == 3
            large = Batch(batch.run_id, "t", 3, [LARGE_FACT] * 2_000)
            assert await log.append([large]) == [WriteResult(WriteStatus.OK, 2_003)]
            read = await log.read(batch.run_id, limit=3_000)
            assert [entry.record for entry in read[3:]] == [decode_record(LARGE_FACT)] * 2_000
            await cut()
            results: list[list[WriteResult]] = []
            while not results:
                with suppress(LogUnavailableError):
                    results.append(await log.append([large]))
            assert results == [[WriteResult(WriteStatus.DUP, 2_003)]]
    finally:
        await log.aclose()


def on(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    anyio.run(main, backend_options={"use_uvloop": loop == "uvloop"})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("by", ["tcp", "unix", "password", "tls"])
def test_a_log_works_over_every_kind_of_connection_on_every_event_loop(
    tmp_path: Path, prefix: str, loop: str, by: str
) -> None:
    options = ("--unixsocket", f"{tmp_path}/s")

    async def main() -> None:
        async with EmbeddedServer.running(durable=False, extra_args=options) as server:
            url = {
                "unix": f"unix://{tmp_path}/s",
                "password": server.url.replace("redis://", "redis://:s3cret@"),
            }.get(by, server.url)
            if by == "password":
                async with connect(server.url) as admin:
                    await admin.config_set("requirepass", "s3cret")

            async def cut() -> None:
                async with connect(url if by != "tls" else server.url) as admin:
                    await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

            if by == "tls":
                async with tls_before(server.port, tmp_path) as secure:
                    await everything(secure, prefix, cut)
            else:
                await everything(url, prefix, cut)

    on(loop, main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_link_that_its_other_end_closed_a_moment_ago_is_a_lost_link(redis_url: str, loop: str) -> None:
    async def main() -> None:
        async with opened(redis_url) as link:
            link.transport.abort()  # as it stands between the arrival of a reset and the news of it
            with pytest.raises(redis_errors.ConnectionError):
                await link.call("PING")

    on(loop, main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_call_after_the_end_of_tls_fails_at_once(redis_url: str, tmp_path: Path, loop: str) -> None:
    failed: list[bool] = []

    class Asking(Link):
        """One that is asked in the turn in which it learns that the other end says no more."""

        def eof_received(self) -> None:
            super().eof_received()
            failed.append(self.call("PING").done())

    async def main() -> None:
        port = connect(redis_url).connection_pool.connection_kwargs["port"]
        async with tls_before(port, tmp_path) as secure, connect(secure) as client, connect(redis_url) as admin:
            link = await Asking.open(client)
            with anyio.fail_after(15):
                await admin.execute_command("CLIENT", "KILL", "ID", await link.call("CLIENT", "ID"))
                with pytest.raises(redis_errors.ConnectionError, match="the server closed the connection"):
                    await link.failed()
            await link.aclose()

    on(loop, main)
    assert failed == [True]


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_a_reply_that_came_while_the_event_loop_was_blocked_is_not_late(fleet: Fleet, uvloop: bool) -> None:
    async def call() -> Any:
        async with opened(f"{fleet.url}?socket_timeout=0.2") as link:
            reply = link.call("ECHO", "here")
            await anyio.lowlevel.checkpoint()
            time.sleep(0.5)  # noqa: ASYNC251 - code of a user that blocks
            return await reply

    assert anyio.run(call, backend_options={"use_uvloop": uvloop}) == b"here"
