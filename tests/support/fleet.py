"""A fleet in this process: workers and clients in tasks, over a real server; and an owner that does what a test calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import redis.asyncio

from playhead.client import Client, Run
from playhead.runtime.agent.serving import Servable
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import Entry, ModelChunk, RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd
from playhead.runtime.models import chunks as c
from playhead.workers import Worker, WorkerOptions
from playhead.workers.checkpoints import Visit

__all__ = ["LIMIT_S", "Fleet", "Owner", "Viewer", "replicated", "text_record"]

LIMIT_S = 30.0
"""What a worker's or a client's block may take: a test that waits for ever fails here instead of hanging."""


def text_record(text: str) -> bytes:
    """An encoded record of one piece of text."""
    return encode_record(ModelChunk(at=1, chunk=c.text_delta(text)))


async def replicated(log: RedisLog) -> None:
    """Wait until a replica has all there is. A `WAIT` alone would return at once on a connection that has written nothing."""
    pipeline: Any = log.client.pipeline(transaction=False)
    pipeline.set(log.keys.durability_marker, 1, px=60_000)
    pipeline.wait(1, 5000)
    assert (await pipeline.execute())[-1] >= 1


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

    async def receives_from(self, owner: Owner, client: Client) -> None:
        """What the owner appends, three times, is received by this client as it is published, and seen."""
        before = client.statistics().messages
        with anyio.fail_after(10):
            for number in range(3):
                await owner.append(str(number))
                await self.seen(owner.head)
            while client.statistics().messages < before + 3:  # noqa: ASYNC110 - on a busy machine the tail may look before
                await anyio.sleep(0.01)

    def assert_dense(self, head: int) -> None:
        """It saw records 1 to `head`, each once and in order."""
        assert [entry.seq for entry in self.entries] == list(range(1, head + 1))


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
        *agents: Servable,
        log: RedisLog | None = None,
        more: Sequence[RedisLog] = (),
        visit: Visit | None = None,
        archive: Path | None = None,
        health_file: Path | None = None,
        **options: Any,
    ) -> AsyncGenerator[Worker]:
        """A worker that serves `agents`; at the end of the block it is drained, with no grace unless one is given.

        `more` are the logs of the shards after the first; they are closed, too.
        """
        log = log or self.log("worker")
        settings: dict[str, Any] = {"grace_s": 0.0, **options}
        worker = Worker(
            agents,
            log=log,
            more=more,
            options=WorkerOptions(**settings),
            visit=visit,
            archive=archive,
            health_file=health_file,
        )
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
