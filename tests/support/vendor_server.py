"""An HTTP server on loopback that responds as a vendor's API does and keeps what it was asked; and what models are asked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.memory import MemoryObjectSendStream

from playhead.runtime.core.converse import Chunk, Messages, ToolSpec
from testkit.listening import listening

__all__ = [
    "ADD",
    "HELLO",
    "PARTIAL",
    "Asked",
    "Respond",
    "Server",
    "ask",
    "events_of",
    "refusing",
    "saying",
    "serving",
    "serving_pieces",
    "without_index",
]

HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]
PARTIAL: Messages = [*HELLO, {"role": "assistant", "content": [{"text": "Good mor"}]}]
"""A history that ends in a message which the model is to continue."""

ADD: ToolSpec = {"name": "add", "description": "Adds", "inputSchema": {"json": {"type": "object", "properties": {}}}}


@dataclass
class Asked:
    """One request as the server sees it, and what sends the response.

    Attributes:
        path: Such as `/v1/messages`.
        raw: The bytes of the body.
    """

    socket: SocketStream
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The body's JSON."""
        return json.loads(self.raw)

    async def begin(self, content_type: str = "text/event-stream") -> None:
        """Start a response of status 200 whose body ends with `end`."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.socket.send(head.encode())

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self.socket.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        """End the body."""
        await self.socket.send(b"0\r\n\r\n")

    async def refuse(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Respond with a whole body."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.socket.send(head.encode() + b"\r\n" + body)


@dataclass
class Server:
    """Attributes:
    url: The address, without a path.
    asked: The requests, in order.
    left: Set when a client closes its connection.
    """

    url: str
    asked: list[Asked] = field(default_factory=list[Asked])
    left: anyio.Event = field(default_factory=anyio.Event)


Respond = Callable[[Asked], Awaitable[None]]


@asynccontextmanager
async def serving(respond: Respond) -> AsyncGenerator[Server, None]:
    """A server that gives every request to `respond`; a connection is open until the client or `respond` closes it."""

    async def serve_connection(socket: SocketStream) -> None:
        async with socket:
            asked = await _read(socket)
            server.asked.append(asked)
            try:
                await respond(asked)
                await socket.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                server.left.set()

    async with listening(serve_connection) as port:
        server = Server(f"http://127.0.0.1:{port}")
        yield server


@asynccontextmanager
async def serving_pieces() -> AsyncGenerator[tuple[Server, MemoryObjectSendStream[bytes]]]:
    """A server, and where the pieces of its response are sent: sending one returns when the one before it is written."""
    send, received = anyio.create_memory_object_stream[bytes](0)

    async def respond(asked: Asked) -> None:
        await asked.begin()
        async for piece in received:
            await asked.send(piece)

    async with serving(respond) as server, send, received:
        yield server, send


async def _read(socket: SocketStream) -> Asked:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await socket.receive()
    head, _, rest = data.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(rest) < int(headers.get("content-length", "0")):
        rest += await socket.receive()
    return Asked(socket, request_line.split(" ")[1], headers, rest)


def events_of(*events: dict[str, Any]) -> bytes:
    """Server-sent events, each named by its `type`, as Anthropic and OpenAI's Responses API send them."""
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def saying(*pieces: bytes, content_type: str = "text/event-stream", cut: bool = False) -> Respond:
    """A response of these pieces; with `cut` the connection drops in the middle of the body."""

    async def respond(asked: Asked) -> None:
        await asked.begin(content_type)
        for piece in pieces:
            await asked.send(piece)
        if cut:
            await asked.socket.aclose()
        else:
            await asked.end()

    return respond


def refusing(status: int, body: object, **headers: str) -> Respond:
    """A response with an error."""

    async def respond(asked: Asked) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await asked.refuse(status, json.dumps(body).encode(), named)

    return respond


async def ask(model: Any, messages: Messages = HELLO, **kwargs: Any) -> list[Chunk]:
    """All chunks of a call of the model."""
    return [chunk async for chunk in model.stream(messages, **kwargs)]


def without_index(chunk: Chunk) -> Chunk:
    """The chunk of another provider as ours has it: without the number of its block, which no reader needs."""
    ((kind, body),) = chunk.items()
    return {kind: {name: part for name, part in body.items() if name != "contentBlockIndex"}}
