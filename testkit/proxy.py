"""A proxy in front of a server that cuts, delays and holds connections, and loses replies, as a bad network does.

Data is delivered even if its sender has ended in the meantime, as in a network: a write that is held for longer than a
lease reaches the server when its run has another owner.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import ByteStream, SocketStream

from playhead.runtime.log.redis.script import Script
from testkit.listening import listening
from testkit.tls import Certificate

__all__ = ["Proxy"]

_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
_ANY_SCRIPT: Final = (b"\r\nEVAL",)


class Proxy:
    """Forwards connections to `port` of the loopback to `target`; with a certificate, TLS connections.

    Attributes:
        held: Whether a reply has been held since the last `hold`.
        lost: The number of replies that were lost with their connections.
    """

    def __init__(self, target: int, certificate: Certificate | None = None) -> None:
        self.port = 0
        self.held = anyio.Event()
        self.lost = 0
        self._target = target
        self._certificate = certificate
        self._links: set[_Link] = set()
        self._delay_s = {"request": 0.0, "reply": 0.0}
        self._open = anyio.Event()
        self._open.set()
        self._holds_requests = False
        self._holds_only_subscribers = False
        self._lose_every: int | None = None
        self._losable: Sequence[bytes] = ()
        self._replies = 0
        self._lose_next = 0
        self._lost_them = anyio.Event()
        self._silenced: Sequence[bytes] = ()

    @property
    def url(self) -> str:
        """The URL that a client connects to."""
        if self._certificate is None:
            return f"redis://127.0.0.1:{self.port}"
        return f"rediss://127.0.0.1:{self.port}?ssl_ca_certs={self._certificate.authority}"

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[Proxy, None]:
        """Serve during the block; then cut every connection."""
        async with listening(self._forward, certificate=self._certificate) as self.port:
            yield self

    def cut(self) -> int:
        """Cut every connection, even with data in flight, and return how many there were."""
        links = list(self._links)
        for link in links:
            link.scope.cancel()
        return len(links)

    def delay(self, seconds: float, *, requests: bool = False) -> None:
        """Delay each reply from now on, and each request too if `requests`; data that arrives meanwhile is sent with it."""
        self._delay_s = {"request": seconds if requests else 0.0, "reply": seconds}

    def hold(self, *, requests: bool = False, only_subscribers: bool = False) -> None:
        """Hold all replies until `release`: the server still executes requests, and the connection looks alive.

        Args:
            requests: Hold requests too, so that the server does not get them.
            only_subscribers: Hold only what is sent on connections that have subscribed to a channel.
        """
        self.held, self._open = anyio.Event(), anyio.Event()
        self._holds_requests, self._holds_only_subscribers = requests, only_subscribers

    def release(self) -> None:
        """Forward the data that was held, and all further data."""
        self._open.set()

    def lose(self, *, every: int | None, only: Script | None = None) -> None:
        """Lose every n-th reply to a script, and cut its connection; with None, lose none from now on.

        With `only`, just the replies to that script are counted and lost.
        """
        self._lose_every, self._replies = every, 0
        self._losable = _ANY_SCRIPT if only is None else _names(only)

    async def lose_next(self, count: int, *, within: float) -> int:
        """Cut the next `count` connections at their next reply, which is lost. Returns how many were cut within `within` seconds."""
        self._lose_next, self._lost_them = count, anyio.Event()
        with anyio.move_on_after(within):
            await self._lost_them.wait()
        left, self._lose_next = self._lose_next, 0
        return count - left

    def silence(self, script: Script) -> None:
        """Hold the next reply to that script for ever, and all later ones on its connection, which stays open."""
        self._silenced = _names(script)

    async def forward_request(self, link: _Link) -> None:
        """Wait for as long as requests are delayed or held now."""
        await anyio.sleep(self._delay_s["request"])
        if self._holds_requests and self._holds(link):
            await self._open.wait()

    async def forward_reply(self, link: _Link) -> bool:
        """Wait for as long as replies are delayed or held now; returns False if this one is lost."""
        if self._holds(link):
            self.held.set()
            await self._open.wait()
        if self._loses(link):
            self.lost += 1
            return False
        if link.asks_for(self._silenced):
            self._silenced = ()
            await anyio.sleep_forever()
        await anyio.sleep(self._delay_s["reply"])
        return True

    def _holds(self, link: _Link) -> bool:
        return not self._open.is_set() and (link.subscriber or not self._holds_only_subscribers)

    def _loses(self, link: _Link) -> bool:
        if self._lose_next:
            self._lose_next -= 1
            if not self._lose_next:
                self._lost_them.set()
            return True
        if self._lose_every is None or not link.asks_for(self._losable):
            return False
        self._replies += 1
        return self._replies % self._lose_every == 0

    async def _forward(self, client: ByteStream) -> None:
        link = _Link(self, client)
        self._links.add(link)  # at once: a cut may come while the server is being reached
        try:
            async with client, AsyncExitStack() as stack:  # both are closed outside the scope: a cut aborts them
                with link.scope, suppress(OSError):  # the server cannot be reached: the client's connection is closed
                    server = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", self._target))
                    await link.run(server)
        finally:
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: ByteStream) -> None:
        self.scope = anyio.CancelScope()
        self.subscriber = False
        self._proxy = proxy
        self._client = client
        self._asked = b""

    def asks_for(self, names: Sequence[bytes]) -> bool:
        """Whether the last request has one of the names in its bytes."""
        return any(name in self._asked for name in names)

    async def run(self, server: SocketStream) -> None:
        """Forward data both ways until the server closes its connection."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._requests, server)
            await self._replies(server)
            tasks.cancel_scope.cancel()

    async def _requests(self, server: SocketStream) -> None:
        """Forward data from the client. At its end the server gets an end of file, and may still reply."""
        with suppress(*_GONE):
            while True:
                self._asked = await self._client.receive()
                self.subscriber |= b"SUBSCRIBE" in self._asked
                await self._proxy.forward_request(self)
                await server.send(self._asked)
        with suppress(*_GONE):
            await server.send_eof()

    async def _replies(self, server: SocketStream) -> None:
        """Forward data from the server. A client that has ended gets no more data; its requests are still delivered."""
        listening = True
        with suppress(*_GONE):
            while True:
                data = await server.receive()
                if not await self._proxy.forward_reply(self):
                    return
                if listening:
                    try:
                        await self._client.send(data)
                    except _GONE:
                        listening = False


def _names(script: Script) -> list[bytes]:
    """The byte strings, one of which is part of any call of the script."""
    return [script.sha.encode(), script.text.encode()]
