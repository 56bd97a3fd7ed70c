"""The checks of one server: who it is, its memory, its disk, its replicas, its clock. Pure: they judge what it reported."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from playhead.client.cli.checks.check import Check
from playhead.client.cli.render import counted
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.server_check import Weakness

__all__ = ["Server", "server_checks"]

_NEARLY_FULL: Final = 0.9
"""Of `maxmemory`, of the machine's memory, or of `maxclients`."""

_CLOCK_MS: Final = 2000
"""Less than this is not worth a warning: times are shown in seconds."""

_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What one server reported.

    Attributes:
        where: Its URL, without a password.
        topology: The kind of server and its replicas, in words.
        info: Its `INFO`; empty for a stand-in in memory.
        fsync: Its `appendfsync`; None if the user may not ask.
        trip_ms: A round trip.
        ahead_ms: How far its clock is ahead of this machine's; below 0 it is late.
        weaknesses: Its settings with which it may lose runs.
        durabilities: Those that the live workers announce; empty without one.
    """

    where: str
    topology: str
    info: Mapping[str, Any]
    fsync: str | None
    trip_ms: float
    ahead_ms: float
    weaknesses: Collection[Weakness]
    durabilities: Collection[Durability]


def server_checks(server: Server) -> list[Check]:
    """All checks of a server, in the order in which they are told."""
    checks = [*_identity(server), _clock(server)]
    if server.info:
        checks += [*_memory(server), *_persistence(server), *_replicas(server), *_connections(server)]
    return checks


def _weak(server: Server, name: str) -> list[Check]:
    return [
        Check(check=name, state="warning", what=one.what, do=one.do) for one in server.weaknesses if one.name == name
    ]


def _identity(server: Server) -> list[Check]:
    info = server.info
    version = info.get("valkey_version") or info.get("redis_version")  # Valkey also reports a compatible Redis version
    name = f"{info.get('server_name', 'redis')} {version}" if info else "fakeredis (in memory only)"
    parts = [f"{server.where}: {name}", *filter(None, [server.topology]), f"{server.trip_ms:.2f} ms a round trip"]
    return [Check(check="server", state="ok", what=", ".join(parts)), *_weak(server, "server")]


def _clock(server: Server) -> Check:
    apart = abs(server.ahead_ms)
    if apart < _CLOCK_MS:
        return Check(check="clock", state="ok", what="this machine and Redis agree about the time, to a second or two")
    redis_s, here = "Redis' clock", "this machine's"
    first, second = (redis_s, here) if server.ahead_ms > 0 else (f"{here} clock", "that of Redis")
    return Check(
        check="clock",
        state="warning",
        what=f"{first} is {apart / 1000:,.1f} s ahead of {second}: the times and ages that commands show are off "
        "by that; leases and deadlines are not, because only Redis' clock counts for them",
        do="Set the clocks of both by NTP.",
    )


def _memory(server: Server) -> Iterator[Check]:
    info = server.info
    yield from _weak(server, "memory")
    if evicted := _number(info, "evicted_keys"):
        yield Check(
            check="memory",
            state="failed",
            what=f"Redis has deleted {counted(evicted, 'key')} to free memory since it started: runs and sessions of any "
            "program on it may have holes or be gone",
            do="Set maxmemory-policy noeviction, and look for damaged runs: playhead doctor RUN.",
        )
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    size = limit or _number(info, "total_system_memory")
    if not size:
        return
    what = (
        f"{used / _MB:,.1f} MB used of {size / _MB:,.1f} MB ({'maxmemory' if limit else 'the machine; no maxmemory'})"
    )
    if used < _NEARLY_FULL * size:
        yield Check(check="memory", state="ok", what=what)
        return
    follows = "a full server refuses all writes" if limit else "without memory the system ends Redis"
    yield Check(
        check="memory",
        state="warning",
        what=f"{what}: {follows}",
        do="Give it more memory, keep ended runs for a shorter time (worker --retention), or archive them.",
    )


def _persistence(server: Server) -> Iterator[Check]:
    info = server.info
    weak = _weak(server, "persistence")
    yield from weak
    failing = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    if failing:
        yield Check(
            check="persistence",
            state="failed",
            what=f"Redis cannot write to its disk ({', '.join(failing)}): a restart loses what came since",
            do="Look for a full or read-only disk; Redis' own log names the error.",
        )
    elif not weak and "aof_enabled" in info:
        yield Check(check="persistence", state="ok", what=f"appendonly is on, appendfsync {server.fsync or 'unknown'}")


def _replicas(server: Server) -> Iterator[Check]:
    """Whether the server can store as safely as the fleet's workers say they do."""
    info = server.info
    if info.get("role") == "slave":
        yield Check(
            check="durability",
            state="failed",
            what="this server is a replica: it takes no writes",
            do="Use the primary's address, or redis+sentinel:// or redis+cluster://, which find it.",
        )
    known = "connected_slaves" in info
    followers = _number(info, "connected_slaves")
    if "replicated" in server.durabilities and known:
        yield _replicated(followers)
    if "fsynced" in server.durabilities:
        if str(info.get("aof_enabled", "1")) == "0" or server.fsync not in (None, "always"):
            yield Check(
                check="durability",
                state="failed",
                what=f"workers run with --durability fsynced, and appendonly is off or appendfsync is {server.fsync}: "
                "their records do not count as stored, and their runs wait",
                do="Set appendonly yes and appendfsync always.",
            )
        else:
            yield Check(check="durability", state="ok", what="fsynced: each record is on the disk before it counts")


def _replicated(followers: int) -> Check:
    if followers:
        what = f"replicated: each record is on one of {counted(followers, 'replica')} before it counts"
        return Check(check="durability", state="ok", what=what)
    return Check(
        check="durability",
        state="failed",
        what="workers run with --durability replicated, and no replica is connected: their records do not count as stored, "
        "and their runs wait",
        do="Connect a replica, or start the workers with another --durability.",
    )


def _connections(server: Server) -> Iterator[Check]:
    used, limit = _number(server.info, "connected_clients"), _number(server.info, "maxclients")
    if limit and used >= _NEARLY_FULL * limit:
        yield Check(
            check="connections",
            state="warning",
            what=f"{used:,} of {limit:,} connections are in use: the next workers and clients will be refused",
            do="Raise maxclients.",
        )


def _number(info: Mapping[str, Any], name: str) -> int:
    return int(info.get(name) or 0)
