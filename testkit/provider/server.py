"""A chat completions server on the loopback: it reads each request whole, and the caller decides its response."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
from anyio.abc import SocketStream

from testkit.listening import listening

__all__ = ["Exchange", "serving"]

_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Exchange:
    """One request, and its response as far as it has been sent.

    A response that is never ended is cut off: its connection is closed when `respond` returns.

    Attributes:
        body: The request's JSON.
    """

    def __init__(self, socket: SocketStream, body: dict[str, Any]) -> None:
        self.body = body
        self._socket = socket

    async def reply(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole response."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self._socket.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def begin(self) -> None:
        """Begin a stream of events."""
        await self._socket.send(_STREAM)

    async def send(self, data: bytes) -> None:
        """Send a part of the stream."""
        if data:
            await self._socket.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """End the stream in order."""
        await self._socket.send(b"0\r\n\r\n")


@asynccontextmanager
async def serving(respond: Callable[[Exchange], Awaitable[None]]) -> AsyncGenerator[str]:
    """Serve during the block, one request for each connection; the value is the base URL for a client.

    `respond` may raise what a lost connection raises: a client leaves whenever it wants.
    """

    async def serve(socket: SocketStream) -> None:
        async with socket:
            with suppress(*_GONE):
                await respond(Exchange(socket, await _request(socket)))

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}/v1"


async def _request(socket: SocketStream) -> dict[str, Any]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await socket.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    (length,) = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
    while len(body) < length:
        body += await socket.receive()
    return json.loads(body)
