"""A fleet in this process: workers and clients in tasks, over the real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import anyio
import pytest
import redis.asyncio
from anyio.abc import ByteStream, SocketStream, TaskStatus

from playhead.client import Client, Run
from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import Entry, ModelChunk, RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.models import chunks as c
from playhead.workers import Worker, WorkerOptions
from playhead.workers.checkpoints import Visit

__all__: list[str] = []

LIMIT_S = 30.0
"""What a worker's or a client's block may take: a test that waits for ever fails here instead of hanging."""


class HeldModel:
    """Streams `before` word by word, waits until `go` is set, streams `after`; once `go` is set it waits no more.

    Attributes:
        held: It waits.
        go: Set it, and the model goes on.
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
        """The whole message."""
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
        """One message."""
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


def text_record(text: str) -> bytes:
    """An encoded record of one piece of text."""
    return encode_record(ModelChunk(at=1, chunk=c.text_delta(text)))


class Owner:
    """Owns one run and writes what the test wants: a worker that does only what the test calls."""

    CLAIMED: ClassVar[dict[str, bytes]] = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
    END: ClassVar[bytes] = encode_record(
        RunCompleted(at=1, result={"stop_reason": "end_turn", "message": {}, "metrics": {}, "state": {}})
    )
    record = staticmethod(text_record)

    def __init__(self, log: RedisLog, claim: Claim) -> None:
        self.log = log
        self.claim = claim
        self.head = claim.head

    @property
    def id(self) -> str:
        """The run's id."""
        return self.claim.run_id

    @property
    def stream(self) -> str:
        """The key of the run's log, and the name of its channel."""
        return self.log.keys.log(self.id)

    def of(self, claim: Claim) -> Owner:
        """The owner by another claim."""
        return Owner(self.log, claim)

    async def another(self) -> Owner:
        """The owner of another fresh run."""
        return await _fresh(self.log)

    def _batch(self, records: list[bytes]) -> Batch:
        return Batch(self.id, self.claim.token, self.head, records)

    async def append(self, *texts: str) -> None:
        """One record for each text, in one batch."""
        (answer,) = await self.log.append([self._batch([text_record(text) for text in texts])])
        assert answer.stored
        self.head = answer.head

    async def append_unpublished(self, text: str) -> None:
        """As `append`, but the published message is lost."""
        self.head += 1
        entry = (self.stream, f"{self.head}-{self.claim.epoch}", "r", text_record(text))
        await self.log.client.execute_command("XADD", *entry)
        await self.log.client.execute_command("HSET", self.log.keys.run(self.id), "head", self.head)

    async def end(self) -> None:
        """The run completes."""
        answer = await self.log.finish(RunEnd(self._batch([self.END]), "completed"))
        assert answer.stored
        self.head = answer.head


async def _fresh(log: RedisLog) -> Owner:
    run_id = new_run_id(shard=log.keys.shard)
    await log.submit(NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent")))
    claim = await log.claim(Owner.CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
    assert claim is not None
    assert claim.run_id == run_id
    return Owner(log, claim)


class Viewer:
    """Tails a run in a task and keeps what it saw."""

    def __init__(self, run: Run) -> None:
        self.entries: list[Entry] = []
        self._run = run
        self._grown = anyio.Event()

    async def watch(self) -> None:
        """To the run's end."""
        async for entry in self._run.records():
            self.entries.append(entry)
            self._grown.set()
            self._grown = anyio.Event()

    async def seen(self, seq: int) -> None:
        """Wait until record `seq` has been seen."""
        while not self.entries or self.entries[-1].seq < seq:
            await self._grown.wait()

    def assert_dense(self, head: int) -> None:
        """It saw records 1 to `head`, each once and in order."""
        assert [entry.seq for entry in self.entries] == list(range(1, head + 1))


class Steps:
    """An agent that calls one tool three times, one after the other; the tool can be held.

    The model looks at the history and nothing else, as a real one does, so any worker can go on with a run.
    """

    def __init__(self, *, hold: int | None = None) -> None:
        self.done: list[int] = []
        self.held = anyio.Event()
        self.go = anyio.Event()

        @tool
        async def step(number: int) -> str:
            """One step."""
            self.done.append(number)
            if number == hold:
                self.held.set()
                await self.go.wait()
            return f"{number} done"

        def script(messages: Messages) -> Any:
            number = sum("toolResult" in block for message in messages for block in message.get("content", [])) + 1
            return tool_call("step", {"number": number}, f"t{number}") if number < 4 else "All done."

        self.agent = Agent(ScriptedModel([script], repeat=True), name="steps", tools=[step], callback_handler=None)


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
    async def worker(
        self,
        *agents: Agent,
        log: RedisLog | None = None,
        more: Sequence[RedisLog] = (),
        visit: Visit | None = None,
        **options: Any,
    ) -> AsyncGenerator[Worker]:
        """A worker that serves `agents`; at the end of the block it is drained, with no grace unless one is given.

        `more` are the logs of the shards after the first; they are closed, too.
        """
        log = log or self.log("worker")
        settings: dict[str, Any] = {"grace_s": 0.0, **options}
        worker = Worker(agents, log=log, more=more, options=WorkerOptions(**settings), visit=visit)
        try:
            with anyio.fail_after(LIMIT_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(worker.run)
                    yield worker
                    worker.drain()
        finally:
            with anyio.CancelScope(shield=True):
                for one in (log, *more):
                    await one.aclose()

    def logs(self, numbers: Sequence[int], name: str = "worker") -> list[RedisLog]:
        """Logs of several shards."""
        return [self.log(name, shard=shard) for shard in numbers]

    @asynccontextmanager
    async def client(self, *, name: str = "viewer", **options: Any) -> AsyncGenerator[Client]:
        """An open client whose connections are called `name` on the server."""
        with anyio.fail_after(LIMIT_S):
            async with Client(self.named(name), prefix=self.prefix, **options) as client:
                yield client

    @asynccontextmanager
    async def owner(self, *, shard: int = 0) -> AsyncGenerator[Owner]:
        """The owner of a fresh run."""
        log = self.log("owner", shard=shard)
        try:
            yield await _fresh(log)
        finally:
            await log.aclose()

    def viewer(self, run: Run) -> Viewer:
        """One that has not begun to watch."""
        return Viewer(run)

    def log(self, name: str = "test", *, shard: int = 0) -> RedisLog:
        """A log of one's own; the caller closes it."""
        return RedisLog(connect(self.named(name)), prefix=self.prefix, shard=shard)

    async def ask(self, *command: Any) -> Any:
        """The server's reply to one command, on a connection of its own."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*command)

    async def connections(self, name: str) -> list[dict[str, str]]:
        """The server's view of the connections called `name`."""
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return [one for one in await client.client_list() if one["name"] == name]

    async def ended(self, worker: Worker, **outcomes: int) -> None:
        """Wait until a worker has ended so many of its runs so: a reader may learn of an end before the worker does."""
        with anyio.move_on_after(5):
            while worker.statistics().running or worker.statistics().ended != outcomes:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert worker.statistics().ended == outcomes

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the server says so: it gives no signal, and notices a little later what a test does."""
        with anyio.fail_after(LIMIT_S):
            while not await holds():  # noqa: ASYNC110
                await anyio.sleep(0.01)


_ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class _Link:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.asked = b""
        self.subscriber = False


def _names(script: Script) -> list[bytes]:
    """What a call of the script has in its bytes, one or the other."""
    return [script.sha.encode(), script.text.encode()]


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
        self._losable: Sequence[bytes] = ()
        self._silenced: Sequence[bytes] = ()
        self._only_subscribers = False
        self._delay_s = 0.0

    def delay(self, seconds: float) -> None:
        """From now on what the server sends arrives later by so much, all that came meanwhile at once."""
        self._delay_s = seconds

    def hold(self, *, only_subscribers: bool = False) -> None:
        """From now on requests arrive at the server and replies stay on the way: a link that is dead and looks alive."""
        self.held, self._flowing = anyio.Event(), anyio.Event()
        self._only_subscribers = only_subscribers

    def go_on(self) -> None:
        """Deliver the replies held back, and all others, at once."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every link."""
        for link in self._links:
            link.cancel()

    def lose(self, *, every: int | None, only: Script | None = None) -> None:
        """Lose every n-th reply to a script: the server has done as asked, the link breaks instead of saying so.

        With `only`, just the replies to that script are counted and lost. All others come.
        """
        self._lose_every, self._replies = every, 0
        self._losable = [b"\r\nEVAL"] if only is None else _names(only)

    def silence(self, script: Script) -> None:
        """Hold back the next reply to that script for ever, and all after it on its link, which stays open."""
        self._silenced = _names(script)

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
            async with near:  # at once: a cut may come while the other side is being reached
                far = await anyio.connect_tcp("127.0.0.1", self._server_port)
                async with far, anyio.create_task_group() as tasks:
                    tasks.start_soon(self._carry_requests, near, far, link)
                    tasks.start_soon(self._carry_replies, far, near, link)
        self._links.remove(link.scope)

    async def _carry_requests(self, source: ByteStream, target: ByteStream, link: _Link) -> None:
        with suppress(*_ENDS):
            while True:
                data = await source.receive()
                link.asked = data
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
                if any(name in link.asked for name in self._silenced):
                    self._silenced = ()
                    await anyio.sleep_forever()
                await anyio.sleep(self._delay_s)
                await target.send(data)
        link.scope.cancel()

    def _loses(self, link: _Link) -> bool:
        if not (self._lose_every and any(name in link.asked for name in self._losable)):
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
    """A fleet without a worker or a client."""
    return Fleet(redis_url, prefix)


@pytest.fixture
def held_model() -> Callable[..., HeldModel]:
    """Makes models that wait in the middle of their message; see `HeldModel`."""
    return HeldModel


@pytest.fixture
def make_steps() -> Callable[..., Steps]:
    """Makes agents of three steps; see `Steps`."""
    return Steps
