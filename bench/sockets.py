"""The smallest Redis client: one socket, hiredis, one future per command. It is the floor for every client.

It is a yardstick and not part of the product: it neither reconnects nor has timeouts, and raises only the server's errors.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

__all__ = ["Socket", "opened_socket"]


class Socket(asyncio.Protocol):
    """Commands over one connection, pipelined; replies come in the order of the commands."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self.closed = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for writing."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Pass each reply to the oldest waiting command."""
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not Ellipsis:
            asked = self._asked.popleft()
            if asked.done():
                continue
            if isinstance(answer, Exception):
                asked.set_exception(answer)
            else:
                asked.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the commands that still wait."""
        for asked in self._asked:
            if not asked.done():
                asked.set_exception(exc or ConnectionResetError("the server closed the connection"))
        if not self.closed.done():
            self.closed.set_result(None)

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command in this turn of the event loop; its reply can be awaited."""
        asked: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append(asked)
        self._open().write(hiredis.pack_command(command))
        return asked

    def close(self) -> None:
        """Close the connection; `closed` is done when it is."""
        self._open().close()

    def _open(self) -> asyncio.Transport:
        assert self._transport is not None, "the socket is not connected yet"
        return self._transport


@asynccontextmanager
async def opened_socket(url: str) -> AsyncGenerator[Socket, None]:
    """A connection to the server at `redis://host:port`, closed at the end of the block."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(Socket, address.hostname or "localhost", address.port or 6379)
    try:
        yield socket
    finally:
        socket.close()
        await socket.closed
