"""What is injured: the server, the workers and the viewers, each process behind a proxy of its own, and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import anyio
from anyio.abc import TaskGroup

from bench.chaos.processes import Process, Template
from bench.chaos.proxy import Proxy
from playhead.runtime.embedded import EmbeddedServer

__all__ = ["PREFIX", "Options", "Stage", "Victim"]

PREFIX: Final = "chaos"
_MAY_DIE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a chaos is made.

    Attributes:
        deck: The injuries to deal out, shuffled, and again when they are used up; empty for `injuries.DECK`.
        pace_s: Between two injuries, on average.
        runs: At once.
        lease_s: Of the workers.
        limit_s: For all injuries together.
        appendfsync: Of the server. With `everysec` a killed server may lose what it acknowledged while a sync of its
            disk went on: it then writes late. That breaks promises, as it would with any store.
        keep: Keep the folder even if nothing broke.
    """

    seed: int
    injuries: int = 100
    deck: tuple[str, ...] = ()
    workers: int = 4
    viewers: int = 2
    runs: int = 24
    lease_s: float = 2.0
    pace_s: float = 0.9
    limit_s: float = 3600.0
    appendfsync: Literal["always", "everysec"] = "always"
    keep: bool = False

    @property
    def worker_options(self) -> dict[str, Any]:
        """Of every worker: two can hold all runs, so that each has some; none is given up for what befell its workers."""
        return {
            "concurrency": self.runs // 2 + 1,
            "lease_ms": round(self.lease_s * 1000),
            "grace_s": 1.0,
            "crash_limit": 1_000_000,
            "retention_ms": 3_600_000,
        }


async def _nothing(victim: Victim) -> None:
    del victim


@dataclass(eq=False, slots=True)
class Victim:
    """A process with its proxy. `busy` while it is being injured, `leaving` once it is meant to end."""

    program: Literal["worker", "viewer"]
    process: Process
    proxy: Proxy
    busy: bool = False
    leaving: bool = False


class Stage:
    """Holds everything that can be injured.

    Attributes:
        died: Workers and viewers that ended though nobody had harmed them, as texts.
        hear: Called with each line that a viewer says.
        gone: Called when a process has ended, by whatever.
    """

    def __init__(self, options: Options, *, folder: Path, template: Template) -> None:
        self.options = options
        self.folder = folder
        self.died: list[str] = []
        self.load_proxy: Proxy
        self.server: EmbeddedServer
        self.hear: Callable[[Any], None] = lambda line: None
        self.gone: Callable[[Victim], Awaitable[None]] = _nothing
        self._victims: list[Victim] = []
        self._template = template
        self._tasks: TaskGroup
        self._server_busy = anyio.Lock()

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the server, the workers and the viewers; `stack` ends them, the processes first."""
        for name in ("traces", "views", "logs"):
            (self.folder / name).mkdir()
        self.server = await self._start_server(0)
        stack.push_async_callback(self._close_server)
        self.load_proxy = await stack.enter_async_context(Proxy(self.server.port).serving())
        self._tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.push(self._end)
        for _ in range(self.options.workers):
            await self.start("worker")
        for _ in range(self.options.viewers):
            await self.start("viewer")

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # else the group ends by that, which it must not take for its own cancellation
            self._tasks.cancel_scope.cancel()

    async def _start_server(self, port: int) -> EmbeddedServer:
        folder, extra = self.folder / "server", ("--appendfsync", self.options.appendfsync)
        return await EmbeddedServer.start(directory=folder, port=port, extra_args=extra)

    async def _close_server(self) -> None:
        await self.server.stop()

    def those(self, program: str, *, healthy: bool = True) -> list[Victim]:
        """The present workers or viewers; the healthy ones only, unless told otherwise."""
        found = [one for one in self._victims if one.program == program and not one.leaving]
        return [one for one in found if not one.busy] if healthy else found

    async def start(self, program: Literal["worker", "viewer"]) -> Victim:
        """One more process behind a new proxy."""
        return await self._tasks.start(self._keep, program)

    async def _keep(self, program: Literal["worker", "viewer"], *, task_status: Any) -> None:
        async with Proxy(self.server.port).serving() as proxy:
            process = await self._template.start(program, url=proxy.url, prefix=PREFIX, **self._config(program))
            victim = Victim(program, process, proxy)
            self._victims.append(victim)
            task_status.started(victim)
            try:
                await process.run(lambda line: self.hear(line))
            finally:
                self._victims.remove(victim)
        if not victim.leaving:
            self.died.append(f"{program} {process.pid}")
            if len(self.died) > _MAY_DIE:
                raise RuntimeError(f"the {program}s end by themselves: see {self.folder / 'logs'}")
            await self.start(program)
        await self.gone(victim)

    def _config(self, program: str) -> dict[str, Any]:
        if program == "viewer":
            return {"views": str(self.folder / "views")}
        return {
            "direct": self.server.url,
            "options": self.options.worker_options,
            "traces": str(self.folder / "traces"),
            "refused": str(self.folder / "refused"),
        }

    async def kill(self, victim: Victim) -> None:
        """`kill -9`, and a replacement."""
        victim.leaving = True
        victim.process.kill()
        await victim.process.ended.wait()
        await self.start(victim.program)

    async def kill_server(self, away_s: float) -> None:
        """`kill -9` the server, and start it again on what its append-only file holds."""
        async with self._server_busy:
            old = self.server
            os.kill(old.pid, signal.SIGKILL)
            await old.stop()
            await anyio.sleep(away_s)
            self.server = await self._start_server(old.port)

    async def stall_server(self, seconds: float) -> None:
        """The server answers nothing for a while."""
        async with self._server_busy:
            os.kill(self.server.pid, signal.SIGSTOP)
            try:
                await anyio.sleep(seconds)
            finally:
                os.kill(self.server.pid, signal.SIGCONT)
