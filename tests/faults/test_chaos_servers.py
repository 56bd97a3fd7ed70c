"""The servers that a chaos injures: they fail over as those of a real deployment do."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis.asyncio

from chaos.servers import Replicated, open_servers
from playhead.runtime.embedded.topology import EmbeddedSentinels

__all__: list[str] = []

pytestmark = pytest.mark.anyio

KEY = "{chaos:0}:kept"


async def told(port: int, *command: str) -> Any:
    async with redis.asyncio.Redis(port=port, protocol=2, decode_responses=True) as client:
        return await client.execute_command(*command)


async def role(port: int) -> str:
    try:
        return (await told(port, "ROLE"))[0]
    except redis.RedisError:
        return ""


async def kept_by_both(servers: Replicated) -> int:
    """The primary's port, once its replica has the key too.

    A primary that is slow to answer for half a second is replaced. It may still take a write that its replica never gets,
    and does not know for up to ten seconds that it is no longer the primary.
    """
    while True:
        port = await servers.port()
        async with redis.asyncio.Redis(port=port) as primary, primary.pipeline(transaction=False) as both:
            both.set(KEY, "1")
            both.wait(1, 500)  # for the last write of this connection
            with suppress(redis.RedisError):
                if (await both.execute())[-1] == 1:
                    return port
        await anyio.sleep(0.05)


async def what_becomes_of_a_failover(sentinel: redis.asyncio.Redis, heir: Any) -> str:
    """The sentinel's message when `heir`, which is stopped, was silent for too long."""
    async with sentinel.pubsub() as events:
        await events.psubscribe("*")
        os.kill(heir.pid, signal.SIGSTOP)
        try:
            async for event in events.listen():
                if event["channel"] in ("+promoted-slave", "-failover-abort-no-good-slave"):
                    return str(event["channel"])
        finally:
            os.kill(heir.pid, signal.SIGCONT)
    raise AssertionError("the sentinel said no more")


@pytest.mark.timeout(80)
async def test_a_server_that_came_back_with_nothing_is_not_promoted_before_it_has_what_its_primary_has(tmp_path: Path):
    servers = await open_servers("sentinel", folder=tmp_path, prefix="chaos", appendfsync="always")
    assert isinstance(servers, Replicated)
    whole = servers.whole
    assert isinstance(whole, EmbeddedSentinels)
    try:
        with anyio.fail_after(20):
            port = await kept_by_both(servers)
        old, heir = sorted((whole.primary, *whole.replicas), key=lambda server: server.port != port)
        await told(heir.port, "ACL", "SETUSER", "default", "-psync", "-sync")  # what comes back gets nothing from it
        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(servers.kill, 0.0)
                while await role(heir.port) != "master" or await role(old.port) != "slave":  # noqa: ASYNC110
                    await anyio.sleep(0.05)
                async with redis.asyncio.Redis(port=whole.sentinel_ports[0], decode_responses=True) as sentinel:
                    assert await what_becomes_of_a_failover(sentinel, heir) == "-failover-abort-no-good-slave"
                await told(heir.port, "ACL", "SETUSER", "default", "+psync", "+sync")
        assert await servers.port() == heir.port
        assert await told(heir.port, "GET", KEY) == "1"
        assert await told(old.port, "GET", KEY) == "1", "the kill returns when one more would lose nothing"
    finally:
        await servers.close()
