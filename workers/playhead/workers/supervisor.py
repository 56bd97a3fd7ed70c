"""Several worker processes from one command: started, restarted when they die, drained together."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio
from anyio.abc import Process

__all__ = ["Supervisor", "SupervisorStatistics"]

logger: logging.Logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_HEALTHY_S: Final = 30.0
"""After a child has lived this long, the pauses start over."""

_HOPELESS: Final = frozenset({2, 64, 77, 78})
"""Exit codes that a restart cannot fix: usage, credentials, configuration."""


class SupervisorStatistics(NamedTuple):
    """The counters of a supervisor since its start, and its current processes."""

    pids: tuple[int, ...]
    """The running processes, oldest first."""
    restarts: int
    """Number of processes started to replace one that died."""
    last_exit: int | None
    """Exit code of the last process that died, or minus the signal that killed it; None if none has died."""


class Supervisor:
    """Keeps `processes` worker processes running until `drain`.

    Each gets a pipe whose other end only this process holds, so none outlives it, and its own session, so that Ctrl-C in
    a terminal reaches only this process. One that ends without being told to is replaced, also if it ends with 0: a
    SIGTERM that was sent to it alone drains it. Cancelling `run` kills them.
    """

    def __init__(self, arguments: Sequence[str], *, processes: int) -> None:
        self._command = [sys.executable, "-m", "playhead.workers", *arguments, "--stop-with-stdin"]
        self._processes = processes
        self._draining = anyio.Event()
        self._children: dict[int, None] = {}
        self._restarts = 0
        self._last_exit: int | None = None

    def statistics(self) -> SupervisorStatistics:
        """A snapshot of the counters."""
        return SupervisorStatistics(tuple(self._children), self._restarts, self._last_exit)

    def drain(self) -> None:
        """Drain every child; `run` returns when the last one has exited."""
        self._draining.set()

    async def run(self) -> int | None:
        """Run the children until the last one has drained.

        Returns:
            None; or the exit code of a child that a restart cannot fix, after the others have drained.
        """
        hopeless: list[int] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(self._processes):
                tasks.start_soon(self._keep_one, hopeless)
        return hopeless[0] if hopeless else None

    async def _keep_one(self, hopeless: list[int]) -> None:
        pause = _FIRST_PAUSE_S
        while not self._draining.is_set():
            began = time.monotonic()
            code = await self._run_one()
            if self._draining.is_set():
                return
            self._last_exit = code
            if code in _HOPELESS:
                hopeless.append(code)
                self.drain()
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _HEALTHY_S else min(2 * pause, _LONGEST_PAUSE_S)
            logger.warning("a worker process ended with %d; another starts in %.1f s", code, pause)
            with anyio.move_on_after(pause):
                await self._draining.wait()
            self._restarts += not self._draining.is_set()

    async def _run_one(self) -> int:
        child = await anyio.open_process(
            self._command, stdin=subprocess.PIPE, stdout=None, stderr=None, start_new_session=True
        )
        self._children[child.pid] = None
        try:
            async with child, anyio.create_task_group() as tasks:
                tasks.start_soon(self._drain_child, child)
                await child.wait()
                tasks.cancel_scope.cancel()
        finally:
            del self._children[child.pid]
        return child.returncode or 0

    async def _drain_child(self, child: Process) -> None:
        await self._draining.wait()
        if child.stdin is not None:
            await child.stdin.aclose()
