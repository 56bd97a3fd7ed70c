"""Runs the tail hubs and the reapers of an open client's shards in one task of its own.

An anyio task group must be left in the task that entered it, but a client may be closed in a different task from the
one that opened it, as fixtures and exit stacks do. So the group is entered and left in a task of the service, and
closing the client asks that task to end and waits for it.
"""

from __future__ import annotations

import asyncio

import anyio
from anyio.abc import TaskGroup

from playhead.client.shard import Shard
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.redis.home import HomeLoop
from playhead.runtime.log.redis.shards import ShardedLog

__all__ = ["Service"]


class Service:
    """The tailed shards of an open client. Make it in the client's event loop, then `start` it.

    Attributes:
        home: The event loop that it belongs to.
        shards: The shards that were used, by number.
        closing: Whether it was asked to end, or has ended.
    """

    def __init__(self, log: ShardedLog) -> None:
        self.home: HomeLoop = HomeLoop("this client")
        self.home.enter()
        self.shards: dict[int, Shard] = {}
        self._log = log
        self._started = anyio.Event()
        self._wanted_end = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def closing(self) -> bool:
        return self._wanted_end.is_set() or (self._task is not None and self._task.done())

    async def start(self) -> None:
        """Start the service; a cancelled start has ended when this raises."""
        self._task = asyncio.create_task(self._run(), name="playhead client")
        try:
            await self._started.wait()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Wake every tail so that it ends, and return when all connections are closed.

        It may be called again, and from another task than `start`. Raises the error that ended a task of the service.
        """
        self._wanted_end.set()
        if self._task is None:
            return
        if not self._task.done():
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    def shard_of(self, run_id: str) -> Shard:
        """The shard of a run, opened at first use."""
        number = self._log.shard_of(run_id)
        shard = self.shards.get(number)
        if shard is None:
            if self._tasks is None:
                raise PlayheadError("the client is not open yet: wait until `async with` has entered it")
            shard = self.shards[number] = Shard(self._log.at(number))
            self._tasks.start_soon(shard.run)
        return shard

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                self._started.set()
                await self._wanted_end.wait()
                self._close_hubs()
                self._tasks.cancel_scope.cancel()
        finally:
            self._close_hubs()
            with anyio.CancelScope(shield=True):
                await self._log.aclose()

    def _close_hubs(self) -> None:
        for shard in self.shards.values():
            shard.hub.close()
