"""Archives ended runs while a worker works: those of its own when they end, and those that another process ended."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from random import uniform
from typing import Final

import anyio

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.archive.archiving import Archived, Archiving
from playhead.runtime.log.interface import Log
from playhead.workers.options import WorkerOptions
from playhead.workers.resend import Outage

__all__ = ["Archiver", "check_kept_for_the_archive"]

logger: logging.Logger = logging.getLogger(__name__)

_LEAST_RETENTION_MS: Final = 300_000
"""A run that its worker does not archive stays until some worker looks for it, also if that has failed a few times."""

_AT_ONCE: Final = 4  # runs: most of the time is spent in waiting for the archive
_MOST_WAITING: Final = 10_000  # the rest is found when all runs are looked through
_LAST_S: Final = 2.0


def check_kept_for_the_archive(options: WorkerOptions) -> None:
    """Refuse a retention in which a run may be removed before it is archived.

    Raises:
        ValueError: Names the shortest one.
    """
    shortest = min([options.retention_ms, *options.retention.values()])
    if shortest < _LEAST_RETENTION_MS:
        raise ValueError(
            f"a run of a worker with an archive must be kept for at least {_LEAST_RETENTION_MS // 60_000} minutes, because it may "
            f"take as long until it is archived, and a retention is {shortest / 1000:g} s"
        )


class Archiver:
    """Archives the runs that end on one worker. Run `run` in a task.

    The live worker with the first name among those with this archive also archives what others did not: runs that ended
    without a worker, or whose worker died before it had archived them.

    Args:
        logs: The logs of all shards.
        archive: Where to.
        worker: The worker's name.
        look_every_s: How often all runs are looked through.
        again_s: When what was refused is tried again.

    Attributes:
        archived: How many runs it has archived.
    """

    def __init__(
        self, logs: Sequence[Log], archive: Archive, *, worker: str, look_every_s: float = 60.0, again_s: float = 5.0
    ) -> None:
        self.archived: int = 0
        self._logs = logs
        self._archive = archive
        self._worker = worker
        self._look_every_s = look_every_s
        self._again_s = again_s
        self._all = [Archiving(log, archive) for log in logs]
        self._waiting: deque[tuple[Archiving, str]] = deque(maxlen=_MOST_WAITING)
        self._outage = Outage()
        self._more = anyio.Event()
        self._busy = 0
        self._idle = anyio.Event()
        self._told: set[str] = set()

    @property
    def where(self) -> str:
        """The archive, without passwords."""
        return self._archive.where

    def ended(self, log: Log, run_id: str) -> None:
        """Archive this run of the worker, which has ended."""
        self._waiting.append((self._all[self._logs.index(log)], run_id))
        self._more.set()

    async def run(self) -> None:
        """Archive until cancelled. An archive or a server that cannot be reached is waited for."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(self._archive_ended)
            tasks.start_soon(self._look_through)

    async def finish(self) -> None:
        """Wait until what is under way is archived, for two seconds at most: the other workers look for the rest."""
        with anyio.move_on_after(_LAST_S):
            while self._waiting or self._busy:
                self._idle = anyio.Event()
                await self._idle.wait()

    async def _archive_ended(self) -> None:
        while True:
            while not self._waiting:
                self._idle.set()
                if self._more.is_set():
                    self._more = anyio.Event()
                await self._more.wait()
            archiving, run_id = self._waiting.popleft()
            self._busy += 1
            try:
                self._count(await archiving.archive(run_id))
                self._outage.answered()
            except PlayheadError as error:
                self._waiting.appendleft((archiving, run_id))
                self._outage.refused(f"archive run {run_id}", error)
                await anyio.sleep(self._again_s)
            finally:
                self._busy -= 1

    async def _look_through(self) -> None:
        while True:
            self._busy += 1
            try:
                is_first = await self._is_first()
                for archiving in self._all:
                    if is_first:
                        async with aclosing(archiving.missing()) as runs:
                            async for one in runs:
                                self._count(one)
                    else:
                        archiving.forget()
                self._outage.answered()
                pause = self._look_every_s
            except PlayheadError as error:
                self._outage.refused("archive", error)
                pause = self._again_s
            finally:
                self._busy -= 1
                self._idle.set()
            await anyio.sleep(pause * uniform(0.8, 1.2))

    async def _is_first(self) -> bool:
        """Whether no live worker with this archive has a name before this one's: one of them looks through all runs."""
        live = await self._logs[0].workers()
        return all(one.worker >= self._worker for one in live if one.extra.get("archive") == self.where)

    def _count(self, one: Archived | None) -> None:
        if one is None:
            return
        info, error = one
        if error is None:
            self.archived += 1
        elif info.run_id not in self._told:
            self._told.add(info.run_id)
            logger.error("run %s cannot be archived, and will be removed: %s", info.run_id, error)
