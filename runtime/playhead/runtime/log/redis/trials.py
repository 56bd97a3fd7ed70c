"""Tries what the log lives on: a write that is read back, and a message that is published and received.

A server may answer every read and refuse every write, or drop what is published. Only a trial tells.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from redis.asyncio import Redis

from playhead.runtime.core.errors import LogUnavailableError, PlayheadError
from playhead.runtime.core.ids import new_token
from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.connection import address_of
from playhead.runtime.log.redis.keys import Keys

__all__ = ["own_connection", "try_message", "try_write"]

_KEPT_MS: Final = 60_000
"""The TTL of the trial's key, which is deleted at once unless the process dies."""

_MESSAGE_S: Final = 2.0


@asynccontextmanager
async def own_connection(client: Redis) -> AsyncGenerator[Any]:
    """A connection of the pool for commands that the shared one must not be given; closed at the end of the block."""
    pool: Any = client.connection_pool
    connection = await pool.get_connection()
    try:
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.disconnect()
            await pool.release(connection)


async def try_write(client: Redis, writes: Commands, keys: Keys) -> float:
    """Write a key with a fresh value, read it back and delete it. Returns the seconds that the write took.

    `writes` are the calls that wait for the log's durability, so a replica or a disk that does not answer is found, too.
    Raises what redis-py raises, and:

    Raises:
        PlayheadError: If another value is read than was written.
    """
    token = new_token()
    key = keys.doctor(token)
    await writes.connect()
    began = time.perf_counter()
    await writes.send("SET", key, token, "PX", _KEPT_MS)
    took = time.perf_counter() - began
    read = await writes.send("GET", key)
    await writes.send("DEL", key)
    if read != token.encode():
        raise PlayheadError(f"{address_of(client)} answered {read!r} for a key that was just set to {token!r}")
    return took


async def try_message(client: Redis, commands: Commands, keys: Keys) -> float:
    """Publish a message on a channel of no run and receive it. Returns the seconds from the call to the receipt.

    Raises what redis-py raises, and:

    Raises:
        LogUnavailableError: If the message does not arrive within two seconds.
    """
    await commands.connect()
    kind = "S" if commands.sharded else ""
    channel = keys.log(f"doctor-{new_token()}")
    async with own_connection(client) as listener:
        await listener.send_command(f"{kind}SUBSCRIBE", channel)
        await listener.read_response()
        began = time.perf_counter()
        await commands.send(f"{kind}PUBLISH", channel, "doctor")
        with anyio.move_on_after(_MESSAGE_S):
            await listener.read_response()
            return time.perf_counter() - began
    raise LogUnavailableError(
        f"{address_of(client)} took a message and did not deliver it to its subscriber within {_MESSAGE_S:g} s"
    )
