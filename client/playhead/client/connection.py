"""Opens and closes a client's connections to the shards of a deployment."""

from __future__ import annotations

import anyio
import anyio.to_thread

from playhead.client.finding import find_url, with_places
from playhead.client.service import Service
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError
from playhead.runtime.log.redis.connection import DEFAULT_URL, connect
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.log.redis.shards import ShardedLog, check_shards

__all__ = ["Connection"]


class Connection:
    """A client's connections. They belong to the event loop that opened them, and can be opened again after closing.

    Args:
        url: As for `Client`.
        prefix: As for `Client`.
        durability: As for `Client`.
        shards: As for `Client`.

    Attributes:
        url: The URL of the server; after opening without one, the URL that was found.
        log: The logs of all shards.

    Raises:
        LogUnavailableError: If the URL is malformed.
        ValueError, TypeError: If the prefix or the number of shards is invalid.
    """

    def __init__(self, url: str | None, *, prefix: str, durability: Durability, shards: int | None) -> None:
        connect(DEFAULT_URL if url is None else url)  # connects nothing, but refuses a malformed URL
        Keys(prefix)
        if shards is not None:
            check_shards(shards)
        self.url: str = DEFAULT_URL if url is None else url
        self.log: ShardedLog = ShardedLog(self._shard_log)
        self._given = url
        self._prefix = prefix
        self._durability: Durability = durability
        self._shards = shards
        self._service: Service | None = None
        self._unreached: LogUnavailableError | None = None  # why the last `open` failed, until one succeeds

    def opened(self) -> Service:
        """The open service.

        Raises:
            LogUnavailableError: If the server could not be reached when it was last to be opened.
            PlayheadError: If there is none, or if it belongs to a different event loop.
        """
        if self._unreached is not None:
            raise LogUnavailableError(self._unreached.reason, advice=self._unreached.advice) from self._unreached
        return self._begun()

    def _begun(self) -> Service:
        service = self._service
        if service is None or service.closing:
            raise PlayheadError("the client is not open: use `async with Client(url) as client:`")
        service.home.check()
        return service

    async def open(self) -> None:
        """Find the server, check it and the rights there, and start the service. Raises as entering a `Client` does."""
        await self._end_of_former()
        try:
            await self._find_and_start()
        except LogUnavailableError as error:
            self._unreached = error
            raise
        self._unreached = None

    async def aclose(self) -> None:
        """Close all connections. Does nothing if none is open, or if the event loop that opened them has ended."""
        service = self._service
        if service is None:
            return
        if not service.home.is_closed:
            service.home.enter()
            await service.aclose()
        if self._service is service:
            self._service = None

    async def _find_and_start(self) -> None:
        found = self._given or await anyio.to_thread.run_sync(find_url)
        self.url = found or DEFAULT_URL
        try:
            await self._start()
        except LogUnavailableError as error:
            if found is not None:
                raise
            raise with_places(error) from error.__cause__

    async def _start(self) -> None:
        service = self._service = Service(self.log)
        try:
            await check_server(self.log.at(0).client, durability=self._durability)
            await self.log.at(0).check_rights("viewer")
            await (self.log.settled() if self._shards is None else self.log.settle(self._shards))
            await service.start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.log.aclose()
            self._service = None
            raise

    async def _end_of_former(self) -> None:
        """Wait until the previously opened service has ended."""
        former = self._service
        if former is None:
            return
        if former.home.is_closed:  # its event loop ended without closing it
            self.log = ShardedLog(self._shard_log)
            return
        former.home.enter()
        if not former.closing:
            raise PlayheadError("the client is open already; for a second one with the same options use clone()")
        await former.aclose()

    def _shard_log(self, shard: int) -> RedisLog:
        self._begun()
        return RedisLog(connect(self.url), prefix=self._prefix, shard=shard, durability=self._durability)
