"""One shard of an open client: its log, its tail hub, and the reaper of its dead workers' runs."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

import anyio

from playhead.client.tails.hub import Hub
from playhead.runtime.core.errors import PlayheadError, WriteRefusedError
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["Shard"]

logger: logging.Logger = logging.getLogger(__name__)

_REAP_EVERY_S: Final = 2.0
_ASK_EVERY_S: Final = 1.0


class Shard:
    """The parts that the tails of one shard share. Run `run` in a task.

    Attributes:
        log: The shard's log.
        hub: Receives the batches that are published on the shard.
    """

    def __init__(self, log: RedisLog) -> None:
        self.log = log
        self.hub: Hub = Hub(log.client)
        self._reap_wanted = anyio.Event()
        self._waited_for: set[str] = set()  # runs whose tails have waited without success since the last reap
        self._refusal: str | None = None
        self._refused_until = -math.inf
        self._asked = -_ASK_EVERY_S

    async def refusal(self) -> str | None:
        """Why the server accepts no writes, None if it does. Asked at most once a second, however many tails wait.

        For two seconds after it accepts writes again, the reason is empty: the living owners are to renew their leases
        before they are called silent, or their runs are taken.
        """
        if time.monotonic() - self._asked >= _ASK_EVERY_S:
            self._asked = time.monotonic()
            found = await self.log.refusal()
            if found is not None:
                self._refusal, self._refused_until = found, math.inf
            elif self._refused_until == math.inf:
                self._refusal, self._refused_until = "", time.monotonic() + _REAP_EVERY_S
        return self._refusal if time.monotonic() < self._refused_until else None

    def want_reap(self, run_id: str) -> None:
        """Wake the reaper, because a tail has waited for this run in vain and must end even if the whole fleet has died."""
        self._waited_for.add(run_id)
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
                if await self.refusal() is None:
                    await self.log.reap()
                    await self._adopt()
            except WriteRefusedError as error:
                self._refusal, self._refused_until = str(error), math.inf
                logger.info("reap: %s", error)
            except PlayheadError as error:
                logger.info("reap: %s", error)

    async def _adopt(self) -> None:
        waited_for, self._waited_for = self._waited_for, set()
        for run_id in await self.log.adopt(list(waited_for)):
            logger.warning(
                "run %s: was running without a lease, because another program removed it; it got one", run_id
            )
