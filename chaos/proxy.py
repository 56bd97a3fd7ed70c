"""A proxy in front of the server, one per injured process: it cuts, delays and holds connections, and loses replies.

Data is delivered even if its sender has ended in the meantime, as in a network: a write that is held for longer than a
lease reaches the server when its run has another owner.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from chaos.tls import Certificate, Listener

__all__ = ["Proxy"]

_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Proxy:
    """Forwards connections to `port` of the loopback to `target`; with a certificate, TLS connections.

    Attributes:
        delay_s: The delay of each piece of data, in seconds, in both directions.
    """

    def __init__(self, target: int, certificate: Certificate | None = None) -> None:
        self.port = 0
        self.delay_s = 0.0
        self._target = target
        self._certificate = certificate
        self._links: set[_Link] = set()
        self._open = anyio.Event()
        self._open.set()
        self._to_lose = 0
        self._lost = anyio.Event()

    @property
    def url(self) -> str:
        """The URL that a client connects to."""
        if self._certificate is None:
            return f"redis://127.0.0.1:{self.port}"
        return f"rediss://127.0.0.1:{self.port}?ssl_ca_certs={self._certificate.authority}"

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[Proxy, None]:
        """Serve during the block; then cut every connection."""
        plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = plain.extra(SocketAttribute.local_port)
        # A cut closes a connection without a TLS close message, because a paused client would not answer it.
        secure = self._certificate and Listener(plain, self._certificate.context, standard_compatible=False)
        listener = secure or plain
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._forward)
            yield self
            tasks.cancel_scope.cancel()

    def cut(self) -> int:
        """Cut every connection, also with data in flight; returns how many there were."""
        links = list(self._links)
        for link in links:
            link.scope.cancel()
        return len(links)

    def hold(self) -> None:
        """Hold all data until `release`."""
        if self._open.is_set():
            self._open = anyio.Event()

    def release(self) -> None:
        """Forward the data that was held, and all further data."""
        self._open.set()

    async def lose_replies(self, count: int, *, within: float) -> int:
        """Cut the next `count` connections at their next reply, which is lost; returns how many it cut in `within` s."""
        self._to_lose, self._lost = count, anyio.Event()
        with anyio.move_on_after(within):
            await self._lost.wait()
        left, self._to_lose = self._to_lose, 0
        return count - left

    def take_loss(self) -> bool:
        """Whether to lose the current reply."""
        if not self._to_lose:
            return False
        self._to_lose -= 1
        if not self._to_lose:
            self._lost.set()
        return True

    async def passage(self) -> None:
        """Wait for as long as data is delayed or held now."""
        if self.delay_s:
            await anyio.sleep(self.delay_s)
        await self._open.wait()

    async def _forward(self, client: ByteStream) -> None:
        async with client:
            try:
                server = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:  # the server cannot be reached: the client's connection is closed
                return
            async with server:
                link = _Link(self, client, server)
                self._links.add(link)
                try:
                    await link.run()
                finally:
                    self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: ByteStream, server: SocketStream) -> None:
        self.scope = anyio.CancelScope()
        self._proxy = proxy
        self._client = client
        self._server = server

    async def run(self) -> None:
        with self.scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._requests)
                await self._replies()
                tasks.cancel_scope.cancel()

    async def _requests(self) -> None:
        """Forward data from the client. At its end the server gets an end of file, and may still reply."""
        with suppress(*_GONE):
            while True:
                data = await self._client.receive()
                await self._proxy.passage()
                await self._server.send(data)
        with suppress(*_GONE):
            await self._server.send_eof()

    async def _replies(self) -> None:
        """Forward data from the server. A client that has ended gets no more data; its requests are still delivered."""
        listening = True
        with suppress(*_GONE):
            while True:
                data = await self._server.receive()
                if self._proxy.take_loss():
                    return
                await self._proxy.passage()
                if listening:
                    try:
                        await self._client.send(data)
                    except _GONE:
                        listening = False
