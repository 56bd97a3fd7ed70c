"""The server of an injured fleet: a single one, a primary with its replica and a sentinel, or a cluster.

A single one loses no acknowledged write (`appendfsync always`) and restarts on its file. The others fail over: the
replica is promoted, and the former primary restarts as its replica, without data.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import redis
from anyio import to_thread

from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.keys import Keys

__all__ = ["Replicated", "ServerKind", "Servers", "Single", "open_servers"]

ServerKind = Literal["single", "sentinel", "cluster"]

_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_ALONE: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
"""A primary without its replica accepts no writes: one that was replaced during a stall does not know it for up to ten
seconds, and readers would see records that are lost when it learns of it."""

_NOT_YET: Final = 0
_ELIGIBLE: Final = 100
"""A replica's priority. Sentinels may promote a replica that restarted and is still empty (measured, with a primary
that was slow to reply for half a second), so a replica is not eligible before it has synced with its primary."""

_LOOK_MS: Final = 500  # how often a sentinel asks for the priority; ten seconds by default


class Servers(ABC):
    """The servers of the stage.

    Attributes:
        url: The URL for a client without a proxy.
        ports: The ports of all servers that may hold the fleet's keys.
        kind: The name and version of the server.
        about: The setup, for the report.
        durability: The durability with which a killed server loses no acknowledged write.
        takes_proxies: Whether clients can use a proxy; clients of the others get the servers' own addresses.
        fails_over: Whether a killed server may lose unacknowledged writes, although viewers have seen them.
    """

    url: str
    ports: tuple[int, ...]
    kind: str
    about: str
    durability: Durability
    takes_proxies: bool
    fails_over: bool

    @abstractmethod
    async def port(self) -> int:
        """The port of the current primary of the fleet's keys."""

    @abstractmethod
    async def kill(self, away_s: float) -> None:
        """`kill -9` that server, and return when writes are accepted again and survive another kill."""

    @abstractmethod
    async def stall(self, seconds: float) -> None:
        """Stop that server for a while; returns like `kill`."""

    @abstractmethod
    async def close(self) -> None:
        """Stop everything."""


class Single(Servers):
    """One server with an append-only file, from which it restarts after a kill."""

    durability: Durability = "memory"
    takes_proxies = True
    fails_over = False

    def __init__(self, server: EmbeddedServer, *, folder: Path, appendfsync: str) -> None:
        self.url, self.ports, self.kind = server.url, (server.port,), server.kind
        self.about = f"appendonly yes, appendfsync {appendfsync}"
        self._server = server
        self._folder = folder
        self._appendfsync = appendfsync

    @classmethod
    async def start(cls, folder: Path, *, appendfsync: str) -> Single:
        """Start it."""
        return cls(await _start(folder, appendfsync), folder=folder, appendfsync=appendfsync)

    async def port(self) -> int:
        return self._server.port

    async def kill(self, away_s: float) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        await self._server.stop()
        await anyio.sleep(away_s)
        self._server = await _start(self._folder, self._appendfsync, port=self._server.port)

    async def stall(self, seconds: float) -> None:
        await _stalled(self._server, seconds)

    async def close(self) -> None:
        await self._server.stop()


class Replicated(Servers):
    """A primary and its replica, which may change roles; in a cluster, those of the fleet's keys.

    Attributes:
        whole: All the servers.
    """

    durability: Durability = "replicated"
    takes_proxies = False
    fails_over = True

    def __init__(self, whole: EmbeddedSentinels | EmbeddedCluster, *, prefix: str, folder: Path) -> None:
        first = whole.owner(prefix) if isinstance(whole, EmbeddedCluster) else whole.primary
        everyone = whole.nodes if isinstance(whole, EmbeddedCluster) else [whole.primary]
        second = whole.replicas[everyone.index(first)]
        self.url, self.ports, self.kind = whole.url, (first.port, second.port), first.kind
        what = "a cluster of 3 nodes" if isinstance(whole, EmbeddedCluster) else "a primary watched by a sentinel"
        self.about = f"{what}, a replica each; durability replicated, no append-only file"
        self.whole = whole
        self._pair = {server.port: server for server in (first, second)}
        self._folder = folder
        self._key = Keys(prefix).durability_marker
        self._returned: list[EmbeddedServer] = []
        if isinstance(whole, EmbeddedSentinels):
            _ask(whole.sentinel_ports[0], "SENTINEL", "DEBUG", "INFO-PERIOD", _LOOK_MS)
        for port in self.ports:
            with redis.Redis(port=port, protocol=2, socket_timeout=5) as client:
                for name, value in zip(_ALONE[::2], _ALONE[1::2], strict=True):
                    client.config_set(name.removeprefix("--"), value)

    async def port(self) -> int:
        return await to_thread.run_sync(self._primary)

    async def kill(self, away_s: float) -> None:
        old = self._pair[await self.port()]
        replica = self._other(old)
        config = await to_thread.run_sync(self._configuration, old, replica)
        os.kill(old.pid, signal.SIGKILL)
        await _until(lambda: self._is_promoted(replica), "the replica of the killed primary was not promoted")
        await anyio.sleep(away_s)
        self._pair[old.port] = await to_thread.run_sync(self._return, old, config)
        await self._settle()

    async def stall(self, seconds: float) -> None:
        await _stalled(self._pair[await self.port()], seconds)
        await self._settle()

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            for server in self._returned:
                await server.stop()
            await to_thread.run_sync(self.whole.stop_sync)

    def _primary(self) -> int:
        return next((port for port in self.ports if _role(port) == "master"), self.ports[0])

    def _is_promoted(self, replica: EmbeddedServer) -> bool:
        """Whether it is the primary, and the sentinel reports it; until then the sentinel reports the killed server."""
        if _role(replica.port) != "master":
            return False
        return isinstance(self.whole, EmbeddedCluster) or _named(self.whole.sentinel_ports[0]) == replica.port

    def _other(self, one: EmbeddedServer) -> EmbeddedServer:
        return next(server for server in self._pair.values() if server is not one)

    def _configuration(self, old: EmbeddedServer, replica: EmbeddedServer) -> list[str]:
        if isinstance(self.whole, EmbeddedSentinels):
            priority = "--replica-priority", str(_NOT_YET)
            return ["--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1", str(replica.port), *priority]
        names = "cluster-enabled", "cluster-node-timeout", "cluster-port", "repl-diskless-sync-delay"
        with redis.Redis(port=old.port, protocol=2, decode_responses=True, socket_timeout=5) as client:
            told: Any = client.config_get(*names)
        return [word for name in names for word in (f"--{name}", told[name])]

    def _return(self, old: EmbeddedServer, config: list[str]) -> EmbeddedServer:
        """Restart the killed server, with its knowledge of the other servers and without its data."""
        folder = self._folder / f"{len(self._returned)}"
        folder.mkdir(parents=True)
        assert old.directory is not None
        if (known := old.directory / "nodes.conf").exists():
            shutil.copy(known, folder)
        old.stop_sync()
        server = EmbeddedServer.start_sync(
            directory=folder, port=old.port, durable=False, extra_args=[*_ALONE, *config]
        )
        self._returned.append(server)
        return server

    async def _settle(self) -> None:
        """Wait until one is the primary and the other has all its writes; before that, another kill would lose them."""
        await _until(self._settled, "the replica did not sync with its primary")

    def _settled(self) -> bool:
        roles = {_role(port): port for port in self.ports}
        if roles.keys() != {"master", "slave"} or not self._is_promoted(self._pair[roles["master"]]):
            return False
        try:
            with redis.Redis(port=roles["master"], protocol=2, socket_timeout=2) as client:
                pipeline = client.pipeline(transaction=False)
                pipeline.set(self._key, 1, px=60_000)
                pipeline.wait(1, 500)
                has_all = bool(pipeline.execute()[-1] >= 1)
        except redis.RedisError:
            return False
        return has_all and self._is_eligible(roles["slave"])

    def _is_eligible(self, replica: int) -> bool:
        """Whether the sentinel would promote the synced replica; it has to read its new priority first."""
        if isinstance(self.whole, EmbeddedCluster):
            return True
        with redis.Redis(port=replica, protocol=2, socket_timeout=5) as client:
            client.config_set("replica-priority", _ELIGIBLE)
        told = _ask(self.whole.sentinel_ports[0], "SENTINEL", "REPLICAS", "playhead")
        known = [dict(zip(one[::2], one[1::2], strict=True)) for one in told]
        return any((int(one["port"]), int(one["slave-priority"])) == (replica, _ELIGIBLE) for one in known)


async def open_servers(kind: ServerKind, *, folder: Path, prefix: str, appendfsync: str) -> Servers:
    """Start the servers of that kind; returns when they accept writes."""
    if kind == "single":
        return await Single.start(folder, appendfsync=appendfsync)
    whole = await to_thread.run_sync(
        lambda: EmbeddedSentinels(replicas=1) if kind == "sentinel" else EmbeddedCluster(replicas=1)
    )
    return Replicated(whole, prefix=prefix, folder=folder)


async def _start(folder: Path, appendfsync: str, *, port: int = 0) -> EmbeddedServer:
    return await EmbeddedServer.start(directory=folder, port=port, extra_args=("--appendfsync", appendfsync))


async def _stalled(server: EmbeddedServer, seconds: float) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await anyio.sleep(seconds)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _role(port: int) -> str:
    try:
        with redis.Redis(port=port, protocol=2, decode_responses=True, socket_timeout=1) as client:
            told: Any = client.execute_command("ROLE")
            return str(told[0])
    except redis.RedisError:
        return ""


def _named(sentinel: int) -> int:
    return int(_ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "playhead")[1])


def _ask(sentinel: int, *command: Any) -> Any:
    with redis.Redis(port=sentinel, protocol=2, decode_responses=True, socket_timeout=5) as client:
        return client.execute_command(*command)


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not await to_thread.run_sync(holds):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{otherwise} within {_PATIENCE_S:.0f} s")
        await anyio.sleep(_POLL_S)
