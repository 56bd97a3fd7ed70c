"""Connections to a server that a finder has found, asked again for every connection.

Only the address of a connection differs from that of a single server. A connection asks for it when it connects. When its
server is lost, or no longer the right one, the other connections of the pool connect again before their next use. The call
that noticed it fails, and its caller sends it again, as after any lost connection.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from playhead.runtime.log.redis.finders import Finder

__all__ = ["LocatedConnection", "finder_of", "is_outdated", "tell_finder"]

_ELSEWHERE: Final = (
    redis_errors.AskError,  # MOVED too
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
)


class LocatedConnection(AbstractConnection, ABC):
    """A connection to the server that its finder found. A mix-in for redis-py's connections over TCP and TLS."""

    host: str
    port: int

    def __init__(self, *, finder: Finder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder
        self._generation = finder.generation

    @property
    def outdated(self) -> bool:
        """Whether another connection has lost the server, or found it to be the wrong one, since this one was made."""
        return self._generation != self._finder.generation

    async def connect(self) -> None:
        if self.is_connected and self.outdated:
            await self.disconnect(nowait=True)
        await super().connect()

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        if self.is_connected:
            return
        finder = self._finder
        self._generation = finder.generation
        self.host, self.port = await finder.find()
        try:
            await super().connect_check_health(check_health, retry_socket_connect)
            await finder.check(self)
        except (redis_errors.RedisError, OSError):
            finder.turn()
            await self.disconnect(nowait=True)
            raise

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        try:
            return await super().read_response(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        except redis_errors.RedisError as error:
            self.met(error)
            raise

    def met(self, error: Exception) -> None:
        """Tell the finder, if `error` means that the log is, or may be, on another server now."""
        if isinstance(error, _ELSEWHERE):
            self._finder.lost(self._generation)


def is_outdated(connection: Any) -> bool:
    """Whether the log may have moved since this connection was made; False if it cannot move."""
    return isinstance(connection, LocatedConnection) and connection.outdated


def tell_finder(connection: Any, error: Exception) -> None:
    """Tell the finder of this connection, if it has one, of an error that redis-py did not see."""
    if isinstance(connection, LocatedConnection):
        connection.met(error)


def finder_of(client: Any) -> Finder | None:
    """The finder of a client made by `connect`; None if its URL names one server."""
    found = client.connection_pool.connection_kwargs.get("finder")
    return found if isinstance(found, Finder) else None
