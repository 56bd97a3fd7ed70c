"""What is injured: the server, the workers and the viewers, each process behind a proxy of its own, and replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import anyio
from anyio.abc import TaskGroup

from chaos.processes import Process, Template
from chaos.proxy import Proxy
from chaos.servers import ServerKind, Servers, open_servers
from chaos.tls import Certificate, make_certificate

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
        server: What the fleet is injured on; see `servers`.
        appendfsync: Of a single server. With `everysec` a killed server may lose what it acknowledged while a sync of its
            disk went on: it then writes late. That breaks promises, as it would with any store.
        tls: Have all processes speak TLS, which their proxies end.
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
    server: ServerKind = "single"
    appendfsync: Literal["always", "everysec"] = "always"
    tls: bool = False
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
        steady: Held while the server is killed or stalled, until it has come to rest; hold it to look while it is.
    """

    def __init__(self, options: Options, *, folder: Path, template: Template) -> None:
        self.options = options
        self.folder = folder
        self.died: list[str] = []
        self.load_proxy: Proxy
        self.servers: Servers
        self.hear: Callable[[Any], None] = lambda line: None
        self.gone: Callable[[Victim], Awaitable[None]] = _nothing
        self._victims: list[Victim] = []
        self._certificate: Certificate | None = None
        self._template = template
        self._tasks: TaskGroup
        self.steady = anyio.Lock()

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the server, the workers and the viewers; `stack` ends them, the processes first."""
        for name in ("traces", "views", "logs"):
            (self.folder / name).mkdir()
        self.servers = await open_servers(
            self.options.server, folder=self.folder / "server", prefix=PREFIX, appendfsync=self.options.appendfsync
        )
        stack.push_async_callback(self.servers.close)
        if self.options.tls:
            self._certificate = make_certificate(self.folder / "authority.pem")
        self.load_proxy = await stack.enter_async_context(self._proxy().serving())
        self._tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.push(self._end)
        for _ in range(self.options.workers):
            await self.start("worker")
        for _ in range(self.options.viewers):
            await self.start("viewer")

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # else the group ends by that, which it must not take for its own cancellation
            self._tasks.cancel_scope.cancel()

    def _proxy(self) -> Proxy:
        return Proxy(self.servers.ports[0], self._certificate)

    def url(self, proxy: Proxy) -> str:
        """Where a process goes whose proxy this is: through it, if a proxy can stand before the servers."""
        return proxy.url if self.servers.behind_proxies else self.servers.url

    def those(self, program: str, *, healthy: bool = True) -> list[Victim]:
        """The present workers or viewers; the healthy ones only, unless told otherwise."""
        found = [one for one in self._victims if one.program == program and not one.leaving]
        return [one for one in found if not one.busy] if healthy else found

    async def start(self, program: Literal["worker", "viewer"]) -> Victim:
        """One more process behind a new proxy."""
        return await self._tasks.start(self._keep, program)

    async def _keep(self, program: Literal["worker", "viewer"], *, task_status: Any) -> None:
        async with self._proxy().serving() as proxy:
            url = self.url(proxy)
            process = await self._template.start(program, url=url, prefix=PREFIX, **self._config(program))
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
            return {"views": str(self.folder / "views"), "may_rewind": self.servers.fails_over}
        return {
            "ports": self.servers.ports,
            "durability": self.servers.durability,
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
        """`kill -9` the server: it is started again on its append-only file, or a replica takes its place."""
        async with self.steady:
            await self.servers.kill(away_s)

    async def stall_server(self, seconds: float) -> None:
        """The server answers nothing for a while; a replica takes its place if that is long."""
        async with self.steady:
            await self.servers.stall(seconds)
