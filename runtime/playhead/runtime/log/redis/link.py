"""One connection to Redis that all calls share: each is written at once, and the replies arrive in the order of the calls.

redis-py connects (URL, password, TLS, sentinels, cluster, Unix socket). Then its transport gets a protocol of ours: a
call needs no connection of its own, waits only for the calls before it, and is written before `call` returns.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, Self

import anyio
import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.utils import str_if_bytes

from playhead.runtime.log.redis.located_connection import is_outdated, tell_finder

__all__ = ["Borrowed", "Link", "Listener", "NoTransportError", "Wire", "borrow", "hello_of", "refuse"]

_NOTHING: Final = object()
_BUFFERED_BYTES: Final = 1 << 20
_READ_FIRST_S: Final = 0.05
"""Between finding a call late and giving it up: what has arrived meanwhile is read."""
"""How many bytes may be buffered for a server that does not read; above that, a call waits its turn."""

_SHARDED_SINCE: Final = 7  # SPUBLISH and SSUBSCRIBE


class NoTransportError(Exception):
    """The connection is a stand-in (fakeredis) without a transport that a link could take over."""


class Borrowed(NamedTuple):
    """A connection of redis-py's, connected and idle, taken out of its pool.

    Attributes:
        sharded: What is published on this server is published by `SPUBLISH`: it is a node of a cluster, of version 7
            or later.
    """

    pool: Any
    connection: Any
    sharded: bool

    async def give_back(self) -> None:
        """Close the connection, wait until its socket is closed, and return it to the pool."""
        with anyio.CancelScope(shield=True):
            try:
                await self.connection.disconnect()
            finally:
                await self.pool.release(self.connection)


async def borrow(client: Redis) -> Borrowed:
    """Connect. Raises what redis-py raises, and `NoTransportError`."""
    pool: Any = client.connection_pool
    connection: Any = await pool.get_connection()
    try:
        if not hasattr(getattr(connection._writer, "transport", None), "set_protocol"):
            raise NoTransportError
        return Borrowed(pool, connection, await _is_sharded(connection))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await connection.disconnect(nowait=True)
            await pool.release(connection)
        raise


async def _is_sharded(connection: Any) -> bool:
    """Whether the server is a cluster's node by its own account, so that all its clients agree, whatever their URLs say."""
    await connection.send_command("HELLO", check_health=False)
    try:
        told = await connection.read_response()
    except redis_errors.ResponseError:  # older than 6, or a user that may not ask
        return False
    server = hello_of(told)
    version = re.match(r"\d+", str(server.get("version", "")))
    return server.get("mode") == "cluster" and version is not None and int(version[0]) >= _SHARDED_SINCE


def hello_of(told: Any) -> dict[str, Any]:
    """The reply to `HELLO` by its names; empty for a stand-in that does not implement it."""
    if not isinstance(told, dict | list):
        return {}
    pairs: Any = told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)
    return {str_if_bytes(name): str_if_bytes(value) for name, value in pairs}


class Wire(asyncio.Protocol, ABC):
    """A borrowed connection that this protocol reads; a subclass handles each reply. RESP2.

    Attributes:
        lost: The error that ended it; None while it is open.
        sharded: As `Borrowed.sharded`.
        transport: The connection's; this protocol is its own until the connection is given back.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        connection = borrowed.connection
        self.lost: Exception | None = None
        self.sharded: bool = borrowed.sharded
        self._borrowed: Borrowed | None = borrowed
        self._connection = connection
        self._ended = anyio.Event()
        self._writable: anyio.Event | None = None  # None: it is
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self.transport: asyncio.Transport = connection._writer.transport
        self._former = self.transport.get_protocol()
        self.transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        self.transport.set_protocol(self)

    @property
    def outdated(self) -> bool:
        """Whether the log may have moved to another server since this one was found."""
        return is_outdated(self._connection)

    @property
    def unsent(self) -> int:
        """The bytes that the server has not taken yet."""
        return self.transport.get_write_buffer_size()

    async def failed(self) -> NoReturn:
        """Wait until the connection is lost, and raise its error."""
        await self._ended.wait()
        assert self.lost is not None
        raise self.lost

    async def aclose(self) -> None:
        """Close it, if it is still open, and wait until its socket is closed. May be called again."""
        self._lose(redis_errors.ConnectionError("closed by its owner"))
        borrowed, self._borrowed = self._borrowed, None
        if borrowed is not None:
            await borrowed.give_back()

    def write(self, *command: Any) -> None:
        """Send a command without waiting; the transport buffers what the server does not take yet."""
        try:
            self.transport.write(hiredis.pack_command(command))
        except RuntimeError as error:  # uvloop, if the other end closed it a moment ago
            self._fail(redis_errors.ConnectionError(str(error)))

    @abstractmethod
    def _take(self, reply: Any) -> None:
        """Handle one reply, which may be an error. Raises a RedisError if the connection can no longer be used."""

    def _lose(self, error: Exception) -> None:
        """Close the connection because of `error`."""
        if self.lost is None:
            self.lost = error
            self.transport.abort()  # at once: a server that hangs would not answer the end of TLS
            self._ended.set()
            self.resume_writing()

    def _fail(self, error: Exception) -> None:
        """Close the connection because of an error that its owner did not cause: the log may have moved."""
        if self.lost is None:
            tell_finder(self._connection, error)
            self._lose(error)

    def data_received(self, data: bytes) -> None:
        """For the transport."""
        try:
            self._reader.feed(data)
            while self.lost is None and (reply := self._reader.gets()) is not _NOTHING:
                self._take(reply)
        except redis_errors.RedisError as error:
            self._fail(error)

    def eof_received(self) -> None:
        """For the transport, which over TLS accepts writes after this and does not send them."""
        self._fail(redis_errors.ConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """For the transport."""
        self._fail(redis_errors.ConnectionError(str(exc or "the server closed the connection")))
        self._former.connection_lost(exc)  # closing by redis-py's means waits for this

    def pause_writing(self) -> None:
        """For the transport."""
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        """For the transport."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None


class Link(Wire):
    """Pipelined calls. Not for commands that block, and not for those that wait for the connection's last write.

    A call is late when it has no reply `timeout` seconds after it was written. Then the link is lost and all its calls
    fail, as when the connection breaks: whether they were executed is not known. The replies come in the order of the
    calls; the reply to a call whose caller was cancelled is dropped.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        super().__init__(borrowed)
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timeout: float | None = self._connection.socket_timeout
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: asyncio.Future[Any] | None = None  # the call that was late at the last look
        self._turns = anyio.Lock()
        self._queued = 0
        self._closing = False

    @classmethod
    async def open(cls, client: Redis) -> Self:
        """Connect. The time limits are those of the client. Raises as `borrow`."""
        return cls(await borrow(client))

    @property
    def ready(self) -> bool:
        """Whether a call would be written at once, because no other call waits for its turn."""
        return self.lost is None and self._writable is None and not self._queued and not self.outdated

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Write a command before this returns; the future gets the reply or the error."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost is None:
            self.write(*command)
        if self.lost is not None:
            refuse(future, self.lost)
            return future
        self._calls.append((future, self._loop.time()))
        if self._timer is None and self._timeout is not None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        return future

    async def call_in_turn(self, *command: Any) -> asyncio.Future[Any]:
        """Like `call`, once the transport takes writes again; calls are written in the order in which they were made."""
        self._queued += 1
        try:
            async with self._turns:
                if self._writable is not None:
                    await self._writable.wait()
                return self.call(*command)
        finally:
            self._queued -= 1

    def close_when_idle(self) -> None:
        """Close the link as soon as no call waits for its reply; `aclose` must be called all the same."""
        self._closing = True
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closing and not self._calls and not self._queued:
            self._lose(redis_errors.ConnectionError("another connection has taken its place"))

    def _take(self, reply: Any) -> None:
        if not self._calls:
            raise redis_errors.InvalidResponse(f"a reply to no call: {str(reply)[:40]}")
        future, _ = self._calls.popleft()
        if isinstance(reply, Exception):
            tell_finder(self._connection, reply)
            refuse(future, reply)
        elif not future.done():
            future.set_result(reply)
        self._close_if_idle()

    def _look(self) -> None:
        """Check whether the oldest call is late. One timer for all calls: one for each would cost more than the call."""
        self._timer = None
        if not self._calls or self._timeout is None:
            return
        left = self._calls[0][1] + self._timeout - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif self._overdue is not self._calls[0][0]:
            # The loop may have been blocked and the reply be in the socket: uvloop runs its timers before it reads.
            self._overdue = self._calls[0][0]
            self._timer = self._loop.call_later(_READ_FIRST_S, self._look)
        else:
            self._fail(redis_errors.TimeoutError(f"no answer within {self._timeout:g} s"))

    def _lose(self, error: Exception) -> None:
        super()._lose(error)
        if self._timer is not None:
            self._timer.cancel()
        while self._calls:
            refuse(self._calls.popleft()[0], error)


def refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    """Raise `error` to the caller, if it still waits."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # retrieved here, so that asyncio does not report it if the caller dropped the future


class Listener(Wire):
    """Calls `on_message` with each reply in the turn of the event loop in which it arrives.

    If `on_message` raises a RedisError, the connection is closed; so it is by an error reply.
    """

    def __init__(self, borrowed: Borrowed, on_message: Callable[[Any], None]) -> None:
        super().__init__(borrowed)
        self._on_message = on_message

    @classmethod
    async def open(cls, client: Redis, on_message: Callable[[Any], None]) -> Self:
        """Connect. Raises as `borrow`."""
        return cls(await borrow(client), on_message)

    async def send(self, *command: Any) -> None:
        """Write a command, once the transport takes writes."""
        if self._writable is not None:
            await self._writable.wait()
        self.write(*command)

    def _take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise reply
        self._on_message(reply)
