"""A fleet for tests: a real server, and workers as tasks beside the test.

    async with running_fleet(agent) as fleet, Client(fleet.url) as client:
        ...

It yields a URL rather than a client, because workers and clients do not know each other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio

from playhead.runtime.agent.serving import Servable
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.workers.options import WorkerOptions
from playhead.workers.worker import Worker

__all__ = ["TestFleet", "running_fleet"]


@dataclass(frozen=True, slots=True)
class TestFleet:
    """A running fleet.

    Attributes:
        url: The server's URL, for a `Client`.
        prefix: The prefix of the fleet's keys, which a `Client` needs too if it is not the default.
        workers: The workers, each with its `statistics()` and `drain()`.
    """

    __test__ = False  # pytest collects classes by their names

    url: str
    prefix: str
    workers: tuple[Worker, ...]


@asynccontextmanager
async def running_fleet(
    *agents: Servable,
    workers: int = 1,
    url: str | None = None,
    prefix: str = "ph",
    options: WorkerOptions | None = None,
) -> AsyncGenerator[TestFleet]:
    """Serve `agents` with workers in this process during the block.

    At its end the workers are drained: unless `options` grant a grace, runs that have not ended are queued again.

    Args:
        workers: The number of workers, each of which serves all agents.
        url: A running server; one that cannot be reached is waited for. By default, a server without a file is started
            for the block on a free port.
        prefix: The prefix of all keys; several fleets can share a server if each has its own.
        options: The workers' options; by default those of `WorkerOptions(grace_s=0)`.

    Raises:
        EmbeddedServerError: If the server did not start.
        ExceptionGroup: If the block raised an error, or a worker ended with one; it holds that error.
    """
    async with AsyncExitStack() as stack:
        if url is None:
            url = (await stack.enter_async_context(EmbeddedServer.running(durable=False))).url
        logs = [RedisLog(connect(url), prefix=prefix) for _ in range(workers)]
        for log in logs:
            stack.push_async_callback(_close, log)
        made = tuple(Worker(agents, log=log, options=options or WorkerOptions(grace_s=0)) for log in logs)
        async with anyio.create_task_group() as tasks:
            for worker in made:
                tasks.start_soon(worker.run)
            yield TestFleet(url, prefix, made)
            for worker in made:
                worker.drain()


async def _close(log: RedisLog) -> None:
    with anyio.CancelScope(shield=True):
        await log.aclose()
