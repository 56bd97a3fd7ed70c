"""Runs several worker processes from one command: starts them, restarts them when they die, and drains them together."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple
from uuid import uuid4

import anyio
from anyio.abc import Process

from playhead.workers.health import HealthOfProcesses
from playhead.workers.options import worker_name

__all__ = ["Supervisor", "SupervisorStatistics", "how_it_ended"]

logger: logging.Logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_HEALTHY_S: Final = 30.0
"""Once a child has lived this long, the pauses start over."""

_HOPELESS: Final = frozenset({2, 64, 77, 78})
"""Exit codes that a restart cannot fix: usage, credentials, configuration."""


Died = Callable[[str, str], Awaitable[None]]

_REPORT_S: Final = 2.0


def how_it_ended(code: int) -> str:
    """How a process with this exit code ended, in words; below 0 it is the signal that killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class SupervisorStatistics(NamedTuple):
    """The counters of a supervisor since its start, and its current processes."""

    pids: tuple[int, ...]
    """The running processes, oldest first."""
    restarts: int
    """The number of processes started to replace one that died."""
    last_exit: int | None
    """The exit code of the last process that died, or minus the signal that killed it; None if none has died."""


class Supervisor:
    """Keeps `processes` worker processes running until `drain`.

    Each gets a pipe whose other end only this process holds, so none outlives it, and its own session, so that Ctrl-C in
    a terminal reaches only this process. A process that ends without being asked to is replaced, even if it exits with
    0: a SIGTERM sent to it alone drains it. Cancelling `run` kills them. `restart` drains each, and starts another in
    its place.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        processes: int,
        died: Died | None = None,
        reloads: bool = False,
        health: HealthOfProcesses | None = None,
    ) -> None:
        """Make a supervisor that has started nothing yet.

        Args:
            arguments: The arguments of each worker process.
            processes: The number of processes.
            died: Called with the name of each worker whose process ended without being asked to, and how it ended.
            reloads: `restart` will be called, so an error of the agents' files is not the end: a change may mend it.
            health: The health file of all processes together.
        """
        self._health = health
        self._died = died
        self._command = [sys.executable, "-m", "playhead.workers", *arguments, "--stop-with-stdin"]
        self._processes = processes
        self._draining = anyio.Event()
        self._reloads = reloads
        self._changed = anyio.Event()
        self._children: dict[int, None] = {}
        self._restarts = 0
        self._last_exit: int | None = None

    def statistics(self) -> SupervisorStatistics:
        """A snapshot of the counters."""
        return SupervisorStatistics(tuple(self._children), self._restarts, self._last_exit)

    def drain(self) -> None:
        """Drain every child; `run` returns when the last one has exited."""
        self._draining.set()

    def restart(self) -> None:
        """Drain the children, and start others that load the agents' files again."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def run(self) -> int | None:
        """Run the children until the last one has drained.

        Returns:
            None, or the exit code of a child that a restart cannot fix, after the others have drained.
        """
        hopeless: list[int] = []
        async with anyio.create_task_group() as background:
            if self._health is not None:
                background.start_soon(partial(self._health.run, is_draining=self._draining.is_set))
            async with anyio.create_task_group() as tasks:
                for number in range(self._processes):
                    tasks.start_soon(self._keep_one, number, hopeless)
            background.cancel_scope.cancel()
        return hopeless[0] if hopeless else None

    async def _keep_one(self, number: int, hopeless: list[int]) -> None:
        pause = _FIRST_PAUSE_S
        while not self._draining.is_set():
            began, changed = time.monotonic(), self._changed
            pid, code = await self._run_one(number, mark := uuid4().hex[:6], changed)
            if self._draining.is_set():
                return
            if changed.is_set():
                continue
            self._last_exit = code
            await self._report(worker_name(pid, mark), code)
            if code in _HOPELESS and self._reloads:
                logger.warning(
                    "a worker process %s, for the reason above; waiting for a changed file", how_it_ended(code)
                )
                await self._first_of(self._draining, changed)
                continue
            if code in _HOPELESS:
                hopeless.append(code)
                self.drain()
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _HEALTHY_S else min(2 * pause, _LONGEST_PAUSE_S)
            logger.warning("a worker process %s; another starts in %.1f s", how_it_ended(code), pause)
            with anyio.move_on_after(pause):
                await self._draining.wait()
            self._restarts += not self._draining.is_set()

    async def _report(self, worker: str, code: int) -> None:
        if self._died is not None:
            with anyio.move_on_after(_REPORT_S):
                await self._died(worker, how_it_ended(code))

    async def _first_of(self, *events: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            for event in events:
                tasks.start_soon(wait, event)

    def _command_of(self, number: int, mark: str) -> list[str]:
        own = [] if self._health is None else ["--health-file", str(self._health.part(number))]
        return [*self._command, "--mark", mark, *own]

    async def _run_one(self, number: int, mark: str, changed: anyio.Event) -> tuple[int, int]:
        """Run one child to its end, or until the files have changed. Returns its process id and its exit code."""
        child = await anyio.open_process(
            self._command_of(number, mark), stdin=subprocess.PIPE, stdout=None, stderr=None, start_new_session=True
        )
        self._children[child.pid] = None
        try:
            async with child, anyio.create_task_group() as tasks:
                tasks.start_soon(self._drain_child, child, changed)
                await child.wait()
                tasks.cancel_scope.cancel()
        finally:
            del self._children[child.pid]
        return child.pid, child.returncode or 0

    async def _drain_child(self, child: Process, changed: anyio.Event) -> None:
        await self._first_of(self._draining, changed)
        if child.stdin is not None:
            await child.stdin.aclose()
