"""One shard of an open client: its log, its tail hub, and the reaper of its dead workers' runs."""

from __future__ import annotations

import logging
import time
from typing import Final

import anyio

from playhead.client.tails.hub import Hub
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["Shard"]

logger: logging.Logger = logging.getLogger(__name__)

_REAP_EVERY_S: Final = 2.0


class Shard:
    """What the tails of one shard share; run `run` in a task.

    Attributes:
        log: The shard's log.
        hub: Receives what is published on the shard.
    """

    def __init__(self, log: RedisLog) -> None:
        self.log = log
        self.hub: Hub = Hub(log.client)
        self._reap_wanted = anyio.Event()

    def want_reap(self) -> None:
        """Wake the reaper: a tail has waited without success, and must end even if the whole fleet died."""
        self._reap_wanted.set()

    async def run(self) -> None:
        """Keep the hub connected and reap until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.hub.run)
            tasks.start_soon(self._reap)

    async def _reap(self) -> None:
        last = 0.0
        while True:
            await self._reap_wanted.wait()
            self._reap_wanted = anyio.Event()
            if time.monotonic() - last < _REAP_EVERY_S:
                continue
            last = time.monotonic()
            try:
                await self.log.reap()
            except PlayheadError as error:
                logger.info("reap: %s", error)
