"""Checks a server before it is used for a log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from redis.asyncio import Redis

from playhead.runtime.core.errors import (
    NoReplicaError,
    PlayheadError,
    RedisAuthError,
    RedisTooOldError,
    UnusableServerError,
)
from playhead.runtime.log.redis.connection import address_of, translate_errors
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.link import hello_of
from playhead.runtime.log.redis.located_connection import finder_of

__all__ = ["Weakness", "check_server", "redis_info", "refuse_unusable", "tell_topology", "weaknesses_of"]

_MINIMUM: Final = (6, 2)


async def redis_info(client: Redis) -> dict[str, Any] | None:
    """`INFO` as a dict, or None where the server has no `INFO` (fakeredis).

    For a user without the right to `INFO` it has the values of `HELLO`, which every user may call: the version, the
    mode and the role.
    """
    with translate_errors(client):
        await client.execute_command("PING")
    try:
        with translate_errors(client):
            return dict(await client.info())
    except RedisAuthError:
        return await _by_hello(client)
    except PlayheadError as error:
        if "unknown command" in str(error).lower() or "not implemented" in str(error).lower():
            return None
        raise


async def _by_hello(client: Redis) -> dict[str, Any]:
    with translate_errors(client):
        told = hello_of(await client.execute_command("HELLO"))
    mode = str(told.get("mode", ""))
    return {
        "redis_version": str(told.get("version", "0.0")),
        "server_name": str(told.get("server", "redis")),
        "redis_mode": mode,
        "cluster_enabled": int(mode == "cluster"),
        "role": "master" if told.get("role") == "master" else "slave",
    }


def tell_topology(client: Redis, info: Mapping[str, Any]) -> str:
    """One line for a person about the kind of server that has the log, and its address. `info` is the server's `INFO`."""
    replicas = info.get("connected_slaves")
    followed = "replicas unknown" if replicas is None else f"{replicas} {'replica' if replicas == 1 else 'replicas'}"
    if finder_of(client) is None:
        return f"one server, {followed}" if info.get("role") == "master" else "a replica: it takes no writes"
    return f"{address_of(client)}, {followed}"


async def check_server(client: Redis, *, durability: Durability = "memory") -> list[str]:
    """Refuse a server that cannot keep the log's promises or the given `durability`, and warn of settings that weaken them.

    In a cluster, the owner of the prefix's slot is checked, so make the `RedisLog` first.

    Returns:
        Warnings, one line each: an evicting `maxmemory-policy`, no persistence, a URL that will not follow a failover.

    Raises:
        RedisTooOldError: If it is older than Redis 6.2, or lacks `WAITAOF` (Redis 7.2) for `fsynced`.
        UnusableServerError: If it is a sentinel, or lacks the replica or the always-synced append-only file that
            the durability needs.
        LogUnavailableError: If it cannot be reached.
        RedisAuthError: If the credentials were refused, or the user may not do what the durability needs.
    """
    info = await redis_info(client)
    if info is None:
        if durability != "memory":
            raise UnusableServerError(f"durability `{durability}`: {address_of(client)} is a stand-in in memory")
        return []
    refuse_unusable(client, info)
    if durability == "replicated":
        await _check_replica(client)
    warnings = await _check_fsync(client) if durability == "fsynced" else []
    return [*warnings, *map(str, weaknesses_of(client, info))]


def refuse_unusable(client: Redis, info: Mapping[str, Any]) -> None:
    """Refuse a server that can keep no log, whatever its settings. `info` is its `INFO`.

    Raises:
        RedisTooOldError: If it is older than Redis 6.2.
        UnusableServerError: If it is a sentinel.
    """
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _MINIMUM:
        raise RedisTooOldError(f"Redis at {address_of(client)} is {version}; playhead needs 6.2 or newer")
    if "sentinel" in (info.get("redis_mode"), info.get("server_mode")):
        raise UnusableServerError(
            f"{address_of(client)} is a sentinel, which has no data; use redis+sentinel://host:port/SERVICE"
        )


class Weakness(NamedTuple):
    """A setting with which an accepted server may still lose runs.

    Attributes:
        name: The part of the server that it is about.
        what: The setting, and what follows from it.
        do: What to do about it; empty if nothing can be done at the server.
    """

    name: Literal["server", "memory", "persistence"]
    what: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.what}. {self.do}".rstrip()


def weaknesses_of(client: Redis, info: Mapping[str, Any]) -> list[Weakness]:
    """The settings of an accepted server with which it may still lose runs. `info` is its `INFO`."""
    found: list[Weakness] = []
    if finder_of(client) is None and str(info.get("cluster_enabled", "0")) == "1":
        one = "this is one node of a cluster: only redis+cluster://host:port,host:port follows a failover"
        found.append(Weakness("server", one))
    if "maxmemory_policy" not in info:
        found.append(
            Weakness("server", "the user may not ask for the server's settings (+info): they were not checked")
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        evicts = f"maxmemory-policy is {policy}: under memory pressure Redis may delete the logs of live runs"
        found.append(Weakness("memory", evicts, "Set it to noeviction."))
    if str(info.get("aof_enabled", "1")) == "0":
        volatile = "appendonly is off: a restart of Redis may lose runs"
        found.append(Weakness("persistence", volatile, "Set appendonly yes."))
    return found


async def _check_replica(client: Redis) -> None:
    """Check that there is a replica: a wait for none returns their number."""
    with translate_errors(client):
        replicas: Any = await client.execute_command("WAIT", 0, 1)
    if int(replicas) < 1:
        raise NoReplicaError(
            f"durability `replicated`: Redis at {address_of(client)} has no replica, so nothing could be stored"
        )


async def _check_fsync(client: Redis) -> list[str]:
    """Check that the server can wait for its disk, with a wait after no write."""
    what = f"durability `fsynced`: Redis at {address_of(client)}"
    try:
        with translate_errors(client):
            await client.execute_command("WAITAOF", 1, 0, 1)
    except RedisAuthError:
        raise
    except PlayheadError as error:
        if "unknown command" in str(error).lower():
            raise RedisTooOldError(f"{what} has no WAITAOF; it needs Redis 7.2 or newer") from error
        if "appendonly" in str(error):
            raise UnusableServerError(
                f"{what} has appendonly off, so nothing could be stored. Set appendonly yes."
            ) from error
        raise
    return await _check_fsync_policy(client, what)


async def _check_fsync_policy(client: Redis, what: str) -> list[str]:
    try:
        with translate_errors(client):
            setting: Any = await client.execute_command("CONFIG", "GET", "appendfsync")
    except PlayheadError as error:  # not every user may, and some services have renamed it
        return [f"durability `fsynced` needs appendfsync always, which could not be checked ({error})."]
    policy = dict(zip(setting[::2], setting[1::2], strict=True)).get(b"appendfsync", b"").decode()
    if policy != "always":
        raise UnusableServerError(
            f"{what} has appendfsync {policy}, with which some versions acknowledge too early. Set appendfsync always."
        )
    return []
