"""The injured processes: the server, the workers and the viewers, each connected through its own proxy and replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import anyio
from anyio.abc import TaskGroup

from chaos.servers import ServerKind, Servers, open_servers
from testkit.processes import ForkServer, Process
from testkit.proxy import Proxy
from testkit.tls import Certificate, make_certificate

__all__ = ["PREFIX", "Options", "Stage", "Victim"]

PREFIX: Final = "chaos"
_MAY_DIE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a chaos run.

    Attributes:
        deck: The injuries, shuffled, and shuffled again when they are used up; empty for `injuries.DECK`.
        pace_s: Seconds between two injuries, on average.
        runs: Conversations at once.
        lease_s: The workers' lease, in seconds.
        limit_s: The time limit for all injuries together, in seconds.
        server: The kind of server; see `servers`.
        appendfsync: The setting of a single server. With `everysec` a killed server may lose acknowledged writes if a sync
            of its disk was in progress, because it then delays its writes. That breaks promises, as with any store.
        tls: Have all processes speak TLS, which their proxies terminate.
        keep: Keep the folder even if no promise broke.
        provided: Runs that the fake provider serves, in as many sessions as `runs`; 0 for the scripted model.
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
    provided: int = 0

    @property
    def worker_options(self) -> dict[str, Any]:
        """The options of every worker: two can hold all runs, so that each has some; no run reaches its crash limit."""
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
    """A process with its proxy. `busy` while it is being injured, `leaving` once it is to end."""

    program: Literal["worker", "viewer"]
    process: Process
    proxy: Proxy
    busy: bool = False
    leaving: bool = False


class Stage:
    """Holds everything that can be injured.

    Args:
        provider: The base URL of the fake provider; empty for the scripted model.

    Attributes:
        died: Workers and viewers that ended without an injury, as texts.
        on_line: Called with each line that a viewer writes.
        on_end: Called when a process has ended, for any reason.
        steady: Held while the server is killed or stalled, until it accepts writes again; hold it to read safely.
    """

    def __init__(self, options: Options, *, folder: Path, forks: ForkServer, provider: str = "") -> None:
        self.options = options
        self.folder = folder
        self.died: list[str] = []
        self.load_proxy: Proxy
        self.servers: Servers
        self.on_line: Callable[[Any], None] = lambda line: None
        self.on_end: Callable[[Victim], Awaitable[None]] = _nothing
        self._victims: list[Victim] = []
        self._certificate: Certificate | None = None
        self._forks = forks
        self._provider = provider
        self._started = 0
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
        if kind is None:  # an exception ends the group itself, which must not treat it as its own cancellation
            self._tasks.cancel_scope.cancel()

    def _proxy(self) -> Proxy:
        return Proxy(self.servers.ports[0], self._certificate)

    def url(self, proxy: Proxy) -> str:
        """The URL for the process of that proxy: the proxy's, unless the servers cannot be used through a proxy."""
        return proxy.url if self.servers.takes_proxies else self.servers.url

    def those(self, program: str, *, healthy: bool = True) -> list[Victim]:
        """The current workers or viewers; by default only the healthy ones."""
        found = [one for one in self._victims if one.program == program and not one.leaving]
        return [one for one in found if not one.busy] if healthy else found

    async def start(self, program: Literal["worker", "viewer"]) -> Victim:
        """Start one more process with a new proxy."""
        return await self._tasks.start(self._keep, program)

    async def _keep(self, program: Literal["worker", "viewer"], *, task_status: Any) -> None:
        async with self._proxy().serving() as proxy:
            url = self.url(proxy)
            self._started += 1
            log = self.folder / "logs" / f"{self._started:04}-{program}.log"
            process = await self._forks.start(program, log=log, url=url, prefix=PREFIX, **self._config(program))
            victim = Victim(program, process, proxy)
            self._victims.append(victim)
            task_status.started(victim)
            try:
                await process.read(lambda line: self.on_line(line))
            finally:
                await process.aclose()
                self._victims.remove(victim)
        if not victim.leaving:
            self.died.append(f"{program} {process.pid}")
            if len(self.died) > _MAY_DIE:
                raise RuntimeError(f"the {program}s end without an injury: see {self.folder / 'logs'}")
            await self.start(program)
        await self.on_end(victim)

    def _config(self, program: str) -> dict[str, Any]:
        if program == "viewer":
            return {"views": str(self.folder / "views"), "may_rewind": self.servers.fails_over}
        return {
            "ports": self.servers.ports,
            "durability": self.servers.durability,
            "options": self.options.worker_options,
            "traces": str(self.folder / "traces"),
            "refused": str(self.folder / "refused"),
            "provider": self._provider,
        }

    async def kill(self, victim: Victim) -> None:
        """`kill -9` a process and start a replacement."""
        victim.leaving = True
        victim.process.kill()
        await victim.process.ended.wait()
        await self.start(victim.program)

    async def kill_server(self, away_s: float) -> None:
        """`kill -9` the server: it is restarted on its append-only file, or a replica is promoted."""
        async with self.steady:
            await self.servers.kill(away_s)

    async def stall_server(self, seconds: float) -> None:
        """Stop the server for a while; a replica is promoted if the stall is long enough."""
        async with self.steady:
            await self.servers.stall(seconds)
