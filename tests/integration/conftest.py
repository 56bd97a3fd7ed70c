"""A fleet in this process: workers and clients in tasks, over the real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
import redis.asyncio
from anyio.abc import ByteStream, SocketStream, TaskStatus

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.embedded import EmbeddedServer
from playhead.runtime.log.redis import RedisLog, connect
from playhead.runtime.models import chunks as c
from playhead.runtime.types import Chunk, Messages, ToolChoice, ToolSpec
from playhead.workers import Worker, WorkerOptions

__all__: list[str] = []

LIMIT_S = 15.0
"""What a worker's or a client's block may take: a test that waits for ever fails here instead of hanging."""


class HeldModel:
    """Says `before` word by word, waits until it is let go, says `after`; once let go it waits no more.

    Attributes:
        held: It waits.
        go: Set it to let it go on.
        closed: A stream of it has been closed or has ended.
        calls: What each call was given.
    """

    def __init__(self, before: Sequence[str] = ("one ", "two "), after: Sequence[str] = ("three",)) -> None:
        self.before = before
        self.after = after
        self.held = anyio.Event()
        self.go = anyio.Event()
        self.closed = anyio.Event()
        self.calls: list[Messages] = []
        self._called = anyio.Event()

    async def called(self, times: int) -> None:
        """Wait until it has been called that often."""
        while len(self.calls) < times:
            await self._called.wait()

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join([*self.before, *self.after])

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """One answer."""
        self.calls.append(messages)
        self._called.set()
        self._called = anyio.Event()
        try:
            yield c.message_start()
            yield c.block_start()
            for word in self.before:
                yield c.text_delta(word)
            self.held.set()
            await self.go.wait()
            for word in self.after:
                yield c.text_delta(word)
            yield c.block_stop()
            yield c.message_stop("end_turn")
            yield c.metadata(input_tokens=1, output_tokens=3, latency_ms=0)
        finally:
            self.closed.set()


class Fleet:
    """What belongs to one prefix on the server."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    def at(self, url: str) -> Fleet:
        """The same on another server, or on another way to it."""
        return Fleet(url, self.prefix)

    def named(self, name: str) -> str:
        """The URL whose connections carry `name` on the server."""
        return f"{self.url}?client_name={name}"

    @asynccontextmanager
    async def worker(self, *agents: Agent, log: RedisLog | None = None, **options: Any) -> AsyncGenerator[Worker]:
        """A worker that serves `agents`; at the end of the block it is drained, with no grace unless one is given."""
        log = log or self.log("worker")
        settings: dict[str, Any] = {"grace_s": 0.0, **options}
        worker = Worker(agents, log=log, options=WorkerOptions(**settings))
        try:
            with anyio.fail_after(LIMIT_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(worker.run)
                    yield worker
                    worker.drain()
        finally:
            with anyio.CancelScope(shield=True):
                await log.aclose()

    @asynccontextmanager
    async def client(self, *, name: str = "viewer", **options: Any) -> AsyncGenerator[Client]:
        """An open client whose connections are called `name` on the server."""
        with anyio.fail_after(LIMIT_S):
            async with Client(self.named(name), prefix=self.prefix, **options) as client:
                yield client

    def log(self, name: str = "test") -> RedisLog:
        """A log of one's own; the caller closes it."""
        return RedisLog(connect(self.named(name), connections=8), prefix=self.prefix)

    async def ask(self, *command: Any) -> Any:
        """The server's answer to one command, on a connection of its own."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*command)

    async def connections(self, name: str) -> list[dict[str, str]]:
        """The server's view of the connections called `name`."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return [one for one in await client.client_list() if one["name"] == name]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the server says so: it gives no signal, and notices what we do a little later than we do it."""
        with anyio.fail_after(5):
            while not await holds():  # noqa: ASYNC110
                await anyio.sleep(0.01)


_ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class _Link:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.asked_script = False
        self.subscriber = False


class Proxy:
    """A link to the server that can be held up and cut, as a bad network does it.

    Attributes:
        url: Connect here instead.
        held: A reply is being held back.
        lost: Replies that were lost with their links.
    """

    def __init__(self, server_port: int) -> None:
        self.url = ""
        self.held = anyio.Event()
        self.lost = 0
        self._server_port = server_port
        self._flowing = anyio.Event()
        self._flowing.set()
        self._links: list[anyio.CancelScope] = []
        self._replies = 0
        self._lose_every: int | None = None
        self._only_subscribers = False

    def hold(self, *, only_subscribers: bool = False) -> None:
        """From now on requests arrive at the server and replies stay on the way: a link that is dead and looks alive."""
        self.held, self._flowing = anyio.Event(), anyio.Event()
        self._only_subscribers = only_subscribers

    def let_go(self) -> None:
        """Deliver the replies held back, and all others, at once."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every link."""
        for link in self._links:
            link.cancel()

    def lose(self, *, every: int | None) -> None:
        """Lose every n-th reply to a script: the server has done as asked, the link breaks instead of saying so."""
        self._lose_every = every

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Run it in a task."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            self.url = f"redis://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
            task_status.started()
            await listener.serve(self._link)

    async def _link(self, near: SocketStream) -> None:
        link = _Link()
        self._links.append(link.scope)
        with link.scope:
            far = await anyio.connect_tcp("127.0.0.1", self._server_port)
            async with near, far, anyio.create_task_group() as tasks:
                tasks.start_soon(self._carry_requests, near, far, link)
                tasks.start_soon(self._carry_replies, far, near, link)
        self._links.remove(link.scope)

    async def _carry_requests(self, source: ByteStream, target: ByteStream, link: _Link) -> None:
        with suppress(*_ENDS):
            while True:
                data = await source.receive()
                link.asked_script = b"\r\nEVAL" in data
                link.subscriber |= b"SUBSCRIBE" in data
                await target.send(data)
        link.scope.cancel()

    async def _carry_replies(self, source: ByteStream, target: ByteStream, link: _Link) -> None:
        with suppress(*_ENDS):
            while True:
                data = await source.receive()
                if not self._flowing.is_set() and (link.subscriber or not self._only_subscribers):
                    self.held.set()
                    await self._flowing.wait()
                if self._loses(link):
                    break
                await target.send(data)
        link.scope.cancel()

    def _loses(self, link: _Link) -> bool:
        if not (self._lose_every and link.asked_script):
            return False
        self._replies += 1
        lost = self._replies % self._lose_every == 0
        self.lost += lost
        return lost


@pytest.fixture
async def proxy(redis_server: EmbeddedServer) -> AsyncIterator[Proxy]:
    """A proxy before the shared server."""
    made = Proxy(redis_server.port)
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.serve)
        yield made
        tasks.cancel_scope.cancel()


@pytest.fixture
def fleet(redis_url: str, prefix: str) -> Fleet:
    """A fleet with nobody in it yet."""
    return Fleet(redis_url, prefix)


@pytest.fixture
def held_model() -> Callable[..., HeldModel]:
    """Makes models that wait in the middle of their answer; see `HeldModel`."""
    return HeldModel
