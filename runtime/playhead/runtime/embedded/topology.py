"""Several embedded servers that work together: a primary with replicas and sentinels, or a cluster.

For tests, for the chaos run, and for users who want to test that their fleet survives a failover. The servers are real
Valkey or Redis servers, because fakeredis supports neither topology, and run no longer than this process.
"""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final, Self

import redis
from redis.crc import key_slot

from playhead.runtime.embedded.binary import EmbeddedServerError, find_server_binary
from playhead.runtime.embedded.directory import ServerDirectory
from playhead.runtime.embedded.process import ServerProcess, free_port
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.keys import Keys

__all__ = ["EmbeddedCluster", "EmbeddedSentinels"]

_READY_S: Final = 20.0
_POLL_S: Final = 0.02
_ATTEMPTS: Final = 5
_SLOTS: Final = 16384
_SERVICE: Final = "playhead"


class _Servers(ABC):
    """The common base class: the servers run from construction to `stop_sync`, or to the end of a `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_sync()

    def stop_sync(self) -> None:
        """Stop all servers; blocks. May be called again."""
        self._stack.close()

    @abstractmethod
    def _start(self) -> None:
        """Start all servers and push the stop of each on the stack; if one fails, those before it are stopped."""

    def _server(self, *extra: str, durable: bool) -> EmbeddedServer:
        server = EmbeddedServer.start_sync(durable=durable, extra_args=("--repl-diskless-sync-delay", "0", *extra))
        self._stack.callback(server.stop_sync)
        return server


class EmbeddedSentinels(_Servers):
    """A primary, its replicas, and the sentinels that promote a replica when the primary is gone.

    Attributes:
        url: `redis+sentinel://…/playhead`.
        primary: The server that was the primary at the start.
        replicas: The servers that were replicas at the start.
        sentinel_ports: The sentinels' ports on 127.0.0.1.
    """

    primary: EmbeddedServer

    def __init__(
        self, *, replicas: int = 1, sentinels: int = 1, down_after_ms: int = 500, durable: bool = False
    ) -> None:
        """Start the servers; blocks until each knows the others.

        Args:
            replicas: Number of replicas.
            sentinels: Number of sentinels. All of them must agree that the primary is gone.
            down_after_ms: How long the primary must be silent before it counts as gone.
            durable: Write append-only files.

        Raises:
            EmbeddedServerError: If a server did not start, or they did not find each other within 20 seconds.
        """
        self.replicas: list[EmbeddedServer] = []
        self.sentinel_ports: list[int] = []
        self._replicas, self._sentinels = replicas, sentinels
        self._down_after_ms, self._durable = down_after_ms, durable
        super().__init__()

    @property
    def url(self) -> str:
        """The URL for clients and workers."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinel_ports)}/{_SERVICE}"

    def current(self) -> EmbeddedServer:
        """The current primary, as the first sentinel reports it."""
        with _admin(self.sentinel_ports[0]) as sentinel:
            told: Any = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
        return next(server for server in (self.primary, *self.replicas) if server.port == int(told[1]))

    def cut_replication(self) -> None:
        """Stop replication without the primary noticing, so that a failover loses every later write.

        A replica that was merely suspended would find those writes in its socket when it resumes.
        """
        with _admin(self.primary.port) as primary:
            primary.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
            primary.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def fail_over(self) -> EmbeddedServer:
        """Kill the primary; blocks until another server has replaced it, and returns that server."""
        os.kill(self.primary.pid, signal.SIGKILL)
        return self.wait_for_failover()

    def wait_for_failover(self) -> EmbeddedServer:
        """Block until a server other than the first primary accepts writes as the primary, and return it."""
        _until(lambda: self.current() is not self.primary, "no replica was promoted")
        server = self.current()
        _until(lambda: _role(server.port) == "master", "the new primary did not start")
        return server

    def _start(self) -> None:
        self.primary = self._server("--repl-ping-replica-period", "1", durable=self._durable)
        follow = ("--replicaof", "127.0.0.1", str(self.primary.port))
        self.replicas += [self._server(*follow, durable=self._durable) for _ in range(self._replicas)]
        with _admin(self.primary.port) as primary:
            _until(partial(_replicates, primary, self._replicas), "the replicas did not join")
        self.sentinel_ports += [self._sentinel() for _ in range(self._sentinels)]
        _until(lambda: all(map(self._knows_all, self.sentinel_ports)), "the sentinels did not find all servers")

    def _knows_all(self, port: int) -> bool:
        with _admin(port) as sentinel:
            told: Any = sentinel.sentinel_master(_SERVICE)
        return (int(told["num-slaves"]), int(told["num-other-sentinels"])) == (self._replicas, self._sentinels - 1)

    def _sentinel(self) -> int:
        binary = find_server_binary()
        assert binary is not None, "the primary runs, so there is one"
        port = free_port()
        held = ServerDirectory(None)
        config = held.path / "sentinel.conf"  # sentinels rewrite this file
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {held.path}\nlogfile {held.log_path}\n"
            f"sentinel monitor {_SERVICE} 127.0.0.1 {self.primary.port} {self._sentinels}\n"
            f"sentinel down-after-milliseconds {_SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {_SERVICE} 5000\n"
        )
        try:
            process = ServerProcess(held, binary=binary, port=port, arguments=[str(config), "--sentinel"])
        except BaseException:
            held.release()
            raise
        self._stack.callback(process.stop)
        return port


class EmbeddedCluster(_Servers):
    """A cluster whose nodes share the slots evenly.

    Attributes:
        url: `redis+cluster://…`, with all nodes.
        nodes: The servers that own slots at the start.
        replicas: The others: those of the first node, then those of the second, …
    """

    def __init__(
        self, *, nodes: int = 3, replicas: int = 0, node_timeout_ms: int = 1000, durable: bool = False
    ) -> None:
        """Start the servers; blocks until all agree that the cluster is up, which takes 2 seconds.

        Args:
            nodes: Number of servers that share the slots; at least three, so that they can agree that one is dead.
            replicas: Number of replicas of each node.
            node_timeout_ms: How long a node must be silent before it counts as dead.
            durable: Write append-only files.

        Raises:
            EmbeddedServerError: If a server did not start, or the cluster did not come up within 20 seconds.
        """
        self.nodes: list[EmbeddedServer] = []
        self.replicas: list[EmbeddedServer] = []
        self._bus: dict[int, int] = {}
        self._nodes, self._replicas = nodes, replicas
        self._node_timeout_ms, self._durable = node_timeout_ms, durable
        super().__init__()

    @property
    def url(self) -> str:
        """The URL for clients and workers."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.nodes)}"

    def owner(self, prefix: str = "ph", *, shard: int = 0) -> EmbeddedServer:
        """The server that now owns the keys of a shard of `prefix`, as the first living node reports it."""
        slot = key_slot(Keys(prefix, shard).root.encode())
        everyone = (*self.nodes, *self.replicas)
        with _admin(next(server for server in everyone if server.alive).port) as node:
            ranges: Any = node.execute_command("CLUSTER", "SLOTS")
        port = next(owner[1] for first, last, owner, *_ in ranges if first <= slot <= last)
        return next(server for server in everyone if server.port == port)

    def _start(self) -> None:
        self.nodes += [self._node() for _ in range(self._nodes)]
        self.replicas += [self._node() for _ in range(self._nodes * self._replicas)]
        for number, server in enumerate((*self.nodes, *self.replicas)):
            self._introduce(server, number)
        self._wait_until_all_agree()
        for number, server in enumerate(self.replicas):
            with _admin(self.nodes[number // self._replicas].port) as node, _admin(server.port) as follower:
                follower.execute_command("CLUSTER", "REPLICATE", node.execute_command("CLUSTER", "MYID"))
        for server in self.nodes if self._replicas else ():
            with _admin(server.port) as node:
                _until(partial(_replicates, node, self._replicas), "the replicas did not join")
        self._wait_until_all_agree()

    def _introduce(self, server: EmbeddedServer, number: int) -> None:
        first = self.nodes[0]
        with _admin(server.port) as node:
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < self._nodes:
                begin, end = (_SLOTS * edge // self._nodes for edge in (number, number + 1))
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
            if number:
                node.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, self._bus[first.port])

    def _wait_until_all_agree(self) -> None:
        servers = (*self.nodes, *self.replicas)
        for server in servers:
            with _admin(server.port) as node:
                _until(partial(_settled, node, len(servers)), "the cluster did not come up")

    def _node(self) -> EmbeddedServer:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(self._node_timeout_ms))
        for attempt in range(_ATTEMPTS):
            bus = free_port()
            try:
                server = self._server(*options, "--cluster-port", str(bus), durable=self._durable)
            except EmbeddedServerError:  # another program may have taken the bus port meanwhile
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self._bus[server.port] = bus
                return server
        raise AssertionError("unreachable")


@contextmanager
def _admin(port: int) -> Generator[Any]:
    client = redis.Redis(port=port, protocol=2, decode_responses=True, socket_timeout=5)
    try:
        yield client
    finally:
        client.close()


def _replicates(server: Any, number: int) -> bool:
    """Whether this many replicas replicate. One that INFO reports as online may not have any data yet."""
    pipeline = server.pipeline(transaction=False)
    pipeline.execute_command("FLUSHALL")  # a write without a key, which every node of a cluster accepts
    pipeline.execute_command("WAIT", number, 100)
    return pipeline.execute()[-1] >= number


def _role(port: int) -> str:
    try:
        with _admin(port) as server:
            return str(server.execute_command("ROLE")[0])
    except redis.RedisError:
        return ""


def _settled(node: Any, servers: int) -> bool:
    told: Any = node.execute_command("CLUSTER INFO")
    nodes = str(node.execute_command("CLUSTER NODES"))
    up = (told["cluster_state"], int(told["cluster_known_nodes"])) == ("ok", servers)
    return up and "handshake" not in nodes and "fail" not in nodes


def _until(holds: Callable[[], bool], otherwise: str) -> None:
    """Poll until the condition holds, because servers do not announce that they are ready.

    Raises:
        EmbeddedServerError: If it does not hold after 20 seconds.
    """
    deadline = time.monotonic() + _READY_S
    while not holds():
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"{otherwise} within {_READY_S:.0f} s")
        time.sleep(_POLL_S)
