"""Makes the calls of one log, over a link that is made at first use and again after it was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, Generic, TypeVar

import anyio
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from playhead.runtime.log.redis.home import HomeLoop
from playhead.runtime.log.redis.link import Link, NoTransportError
from playhead.runtime.log.redis.located_connection import finder_of

__all__ = ["Commands", "Later"]

T = TypeVar("T")

_MOVED: Final = (redis_errors.MovedError, redis_errors.ReadOnlyError)


class Later(Generic[T]):
    """An awaitable whose work may begin when it is made. Unlike a coroutine, it may be dropped without a warning."""

    __slots__ = ("_finish",)

    def __init__(self, finish: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._finish = finish

    def __await__(self) -> Generator[Any, Any, T]:
        return self._finish().__await__()


class _Attempt:
    """One attempt to connect, which all calls that need the link wait for."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: Exception | None = None


class Commands:
    """Sends commands and returns their raw replies, over a link that `open_link` makes.

    If the connection has no transport to take over, each call uses a connection of redis-py's.

    Attributes:
        sharded: What is published is published by `SPUBLISH` (see `Borrowed.sharded`); known once connected.
        home: The event loop of the link.
    """

    def __init__(self, client: Redis, open_link: Callable[[Redis], Awaitable[Link]] = Link.open) -> None:
        self.sharded: bool = False
        self.home: HomeLoop = HomeLoop("this log")
        self._client = client
        self._open_link = open_link
        self._link: Link | None = None
        self._replaced: list[Link] = []
        self._attempt: _Attempt | None = None
        self._without_link = False

    @property
    def ready(self) -> bool:
        """Whether a command sent now is written before `send` returns."""
        return self._link is not None and self._link.ready

    @property
    def without_link(self) -> bool:
        """Whether the client is a stand-in in memory, which cannot have a link; known once connected."""
        return self._without_link

    @property
    def unsent(self) -> int:
        """The bytes that the server has not taken yet."""
        return 0 if self._link is None else self._link.unsent

    def send(self, *command: Any) -> Awaitable[Any]:
        """Send a command. It is written before this returns if the log is `ready`, else upon await.

        Awaiting raises what redis-py raises. With sentinels or on a cluster, a server that answers that it is the wrong
        one has done nothing, so the command is sent once more, to the server that then has the log.

        Raises:
            PlayheadError: If the link belongs to another event loop.
        """
        self.home.enter()
        link = self._link
        if link is not None and link.ready:
            return Later(partial(self._reply, link.call(*command), command))
        return Later(partial(self._reply, None, command))

    async def connect(self) -> None:
        """Make sure that there is a link, if the client can have one. Raises what redis-py raises."""
        await self._connected()

    @property
    def guard(self) -> str | None:
        """A key that scripts must declare; see `Finder.guard`."""
        finder = finder_of(self._client)
        return None if finder is None else finder.guard

    async def aclose(self) -> None:
        """Close the link and wait until its socket is closed. A later call connects again."""
        link, self._link = self._link, None
        replaced, self._replaced = self._replaced, []
        for one in (*replaced, *([link] if link else [])):
            await one.aclose()
        self.home.leave()

    async def _reply(self, sent: Awaitable[Any] | None, command: tuple[Any, ...]) -> Any:
        try:
            return await (self._ask(command) if sent is None else sent)
        except _MOVED:
            if finder_of(self._client) is None:
                raise
        return await self._ask(command)

    async def _ask(self, command: tuple[Any, ...]) -> Any:
        link = await self._connected()
        if link is None:
            return await self._ask_redis_py(command)
        return await (link.call(*command) if link.ready else await link.call_in_turn(*command))

    async def _connected(self) -> Link | None:
        """The link, made again if it was lost or the log has moved; None if the client cannot have one.

        All calls that arrive meanwhile share the attempt and its failure: if each tried in turn, the last one would
        wait for as many time limits as there are calls.
        """
        while True:
            link = self._link
            if self._without_link or (link is not None and link.lost is None and not link.outdated):
                return link
            if self._attempt is None:
                return await self._connect()
            attempt = self._attempt
            await attempt.over.wait()
            if attempt.error is not None:
                raise attempt.error

    async def _connect(self) -> Link | None:
        attempt = self._attempt = _Attempt()
        try:
            await self._clear_away()
            self._link = await self._open_link(self._client)
            self.sharded = self._link.sharded
        except NoTransportError:
            self._without_link = True
        except Exception as error:
            attempt.error = error
            raise
        finally:  # where this call is cancelled, the next that waits connects
            self._attempt = None
            attempt.over.set()
        return self._link

    async def _clear_away(self) -> None:
        """Replace the old link; its pending calls are still answered."""
        if self._link is not None:
            self._link.close_when_idle()
            self._replaced.append(self._link)
            self._link = None
        for old in [old for old in self._replaced if old.lost is not None]:
            self._replaced.remove(old)
            await old.aclose()

    async def _ask_redis_py(self, command: tuple[Any, ...]) -> Any:
        """Call redis-py's connection, not its client, which would convert the replies as the link does not."""
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            with anyio.CancelScope(shield=True):
                await pool.release(connection)
