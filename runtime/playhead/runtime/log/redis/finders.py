"""Finders ask sentinels, or the nodes of a cluster, which server has the log now.

All keys of a shard are in one hash slot, so a log uses one server of a cluster at a time: the slot's owner.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

__all__ = ["ClusterFinder", "Node", "SentinelFinder", "Finder", "NowhereError"]

_LINK_OPTIONS: Final = re.compile("ssl_|socket_|retry$|protocol$|username$|password$")


class NowhereError(redis_errors.ConnectionError):
    """No server could say where the log is. The message names each server that was asked, and its answer."""


class Node(NamedTuple):
    """The address of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _NotHereError(Exception):
    """This node does not know where the log is; another may."""


class Finder(ABC):
    """Asks a list of servers where the log is. One for each `connect`, for all its connections.

    Attributes:
        generation: Increases when the server that was found must no longer be used: older connections then connect again.
        found: The server found last.
        guard: A key that never exists and that every script declares; None if no guard is needed. A cluster's node from
            which the slot is being moved, key by key, refuses a call before the script begins if one of its keys is
            missing; without the guard, a script might find a key moved away in the middle of its writes.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.generation: int = 0
        self.found: Node | None = None
        self.guard: str | None = None
        self._nodes = tuple(nodes)
        self._named = ", ".join(map(str, nodes))
        self._kind: type[Any] = AbstractConnection
        self._options: dict[str, Any] = {}

    def use(self, kind: type[AbstractConnection], options: Mapping[str, Any]) -> None:
        """Ask over connections of this kind, with the time limits, credentials and certificates of `options`."""
        self._kind = kind
        self._options = {name: value for name, value in options.items() if _LINK_OPTIONS.match(name)}

    def point(self, root: str) -> None:
        """Find the keys that begin with `root`, hash tag included. Only on a cluster; raises ValueError."""
        del root

    def lost(self, generation: int) -> None:
        """Note that a connection of that generation lost its server, or has the wrong one: the servers are asked again."""
        if generation == self.generation:
            self.generation += 1
            self.turn()

    def turn(self) -> None:
        """Ask another server first next time: the one that named the wrong server may be cut off from the rest."""
        self._nodes = (*self._nodes[1:], *self._nodes[:1])

    async def find(self) -> Node:
        """The server that has the log, by the first answer.

        Raises:
            NowhereError: If no server knows it, or no server answers.
            AuthenticationError: If the credentials were refused.
        """
        problems: list[str] = []
        for node in self._nodes:
            link = self._kind(host=node.host, port=node.port, **self._options)
            try:
                await link.connect()
                self.found = await self._ask(link, node)
            except redis_errors.AuthenticationError as error:
                raise redis_errors.AuthenticationError(f"{node}: {error}{self._credentials()}") from error
            except _NotHereError as error:
                problems.append(str(error))
            except (redis_errors.RedisError, OSError) as error:
                problems.append(f"{node}: {str(error).rstrip('.')}")
            else:
                return self.found
            finally:
                await link.disconnect(nowait=True)
        raise NowhereError(f"{self} cannot be reached now: {'; '.join(problems)}")

    @abstractmethod
    async def check(self, connection: Any) -> None:
        """Check that the connected server has the expected role. Raises ConnectionError if it has not."""

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    async def _ask(self, link: Any, node: Node) -> Node: ...

    def _credentials(self) -> str:
        return ""


class SentinelFinder(Finder):
    """Finds the primary of one service by asking its sentinels."""

    def __init__(self, nodes: Sequence[Node], service: str, credentials: Mapping[str, str]) -> None:
        super().__init__(nodes)
        self.service = service
        self._sentinel_credentials = dict(credentials)

    def use(self, kind: type[AbstractConnection], options: Mapping[str, Any]) -> None:
        own = {name: value for name, value in options.items() if name not in ("username", "password")}
        super().use(kind, {**own, **self._sentinel_credentials})

    def __str__(self) -> str:
        return f"service {self.service!r} of the sentinels {self._named}"

    async def _ask(self, link: Any, node: Node) -> Node:
        await link.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        try:
            told: Any = await link.read_response()
        except redis_errors.NoPermissionError:
            raise
        except redis_errors.ResponseError as error:
            raise _NotHereError(f"{node} is not a sentinel ({error})") from error
        if told is None:
            raise _NotHereError(f"{node} knows no service of that name; it is the NAME of `sentinel monitor NAME …`")
        primary = Node(_text(told[0]), int(told[1]))
        await link.send_command("SENTINEL", "MASTER", self.service)
        flat = [_text(part) for part in await link.read_response()]
        state = dict(zip(flat[::2], flat[1::2], strict=True))
        # In a failover the first answer names the new primary a little before the second.
        if (state["ip"], int(state["port"])) == primary and {"s_down", "o_down"} & set(state["flags"].split(",")):
            raise _NotHereError(f"{node} says that the primary {primary} is down, and no replica in its place yet")
        return primary

    async def check(self, connection: Any) -> None:
        """Check the role: a sentinel may name a server that was just demoted, and a replica refuses writes but allows reads."""
        await connection.send_command("ROLE", check_health=False)
        try:
            role = _text((await connection.read_response())[0])
        except redis_errors.NoPermissionError:  # a user without the right to ask: a replica will refuse the first write
            return
        if role != "master":
            raise redis_errors.ConnectionError(f"{self.found} was named as the primary, but says that it is a {role}")

    def _credentials(self) -> str:
        return " (those for sentinels are `?sentinel_username=…&sentinel_password=…` of the URL)"


class ClusterFinder(Finder):
    """Finds the owner of the keys' hash slot by asking any node of the cluster."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__(nodes)
        self.root: str = "{ph:0}:"
        self.guard = f"{self.root}nothing"
        self._pointed = False
        self._seeds = self._nodes

    @property
    def slot(self) -> int:
        """The hash slot of all keys: those of the prefix `ph` until `point` names others."""
        return key_slot(self.root.encode())

    def point(self, root: str) -> None:
        if self._pointed and root != self.root:
            raise ValueError(f"these connections are for the keys {self.root}…; use another `connect` for {root}…")
        self._pointed = True
        if root != self.root:
            self.root = root
            self.guard: str | None = f"{root}nothing"
            self.generation: int = self.generation + 1

    def __str__(self) -> str:
        return f"the cluster of {self._named}"

    async def _ask(self, link: Any, node: Node) -> Node:
        await link.send_command("CLUSTER", "SLOTS")
        try:
            ranges = await link.read_response()
        except redis_errors.ClusterDownError as error:
            raise _NotHereError(f"{node}: {error}") from error
        except redis_errors.NoPermissionError:
            raise
        except redis_errors.ResponseError as error:
            raise _NotHereError(f"{node} is not a node of a cluster ({error})") from error
        owners = [_node(owner, node) for first, last, owner, *_ in ranges if first <= self.slot <= last]
        if not owners:
            raise _NotHereError(
                f"{node} says that no node owns slot {self.slot}, where the keys {self.root}… belong "
                f"({len(ranges)} ranges are owned)"
            )
        everyone = (_node(server, node) for _, _, *servers in ranges for server in servers)
        self._nodes = tuple(
            dict.fromkeys((node, *everyone, *self._seeds))
        )  # the servers of the URL may all be gone one day
        return owners[0]

    async def check(self, connection: Any) -> None:
        """Check nothing: a node that does not own the slot says so in answer to every command."""


def _node(told: Sequence[Any], by: Node) -> Node:
    """Read a node of CLUSTER SLOTS. A node that does not know its own address, or must not reveal it, gives "" or `?`."""
    host = _text(told[0] or b"")
    return Node(by.host if host in ("", "?") else host, int(told[1]))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
