"""Gathers what the checks judge: asks the server of each shard, and tries a write and a message on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple, get_args

from playhead.client.cli.checks.check import Check, exit_code
from playhead.client.cli.checks.fleet import fleet_checks
from playhead.client.cli.checks.looking import look
from playhead.client.cli.checks.server import Server, server_checks
from playhead.client.cli.checks.trials import Trial, rights_checks, trial_checks
from playhead.client.finding import with_places
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, WriteRefusedError
from playhead.runtime.log.redis.connection import address_of, connect, redact, translate_errors
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.rights import ROLES, Role
from playhead.runtime.log.redis.server_check import redis_info, refuse_unusable, tell_topology, weaknesses_of
from playhead.runtime.log.redis.shards import ShardedLog
from playhead.runtime.log.values import WorkerInfo

__all__ = ["Examined", "examine"]

_TIMEOUT_S: Final = 3.0
"""For each call: many monitors wait ten seconds for an answer."""

_TRIPS: Final = 10


class Examined(NamedTuple):
    """What was found.

    Attributes:
        checks: In the order in which they are told.
        code: The exit code.
    """

    checks: list[Check]
    code: int


async def examine(url: str, *, prefix: str, limit: int | None, strict: bool, is_default: bool = False) -> Examined:
    """Check the servers of all shards and the fleet; `limit` is how many runs are looked at, None for all.

    `is_default` if the URL is used because no other was found, which is told if it cannot be reached.
    If nothing can be checked because the first server cannot be used, the exit code is that of the error.
    """
    make = partial(_log, url, prefix=prefix)
    logs = ShardedLog(make)
    try:
        await _report(logs.at(0))  # else the first call that fails would say less
        found = await _checks(logs, await logs.settled(), make=make, where=redact(url), limit=limit)
        return Examined(found, exit_code(found, strict=strict))
    except PlayheadError as error:
        told = with_places(error) if is_default and isinstance(error, LogUnavailableError) else error
        return Examined([_unusable(redact(url), told)], error.exit_code)
    finally:
        await logs.aclose()


def _log(url: str, shard: int, *, prefix: str, durability: Durability = "memory") -> RedisLog:
    return RedisLog(connect(url, timeout=_TIMEOUT_S), prefix=prefix, shard=shard, durability=durability)


async def _checks(
    logs: ShardedLog, shards: int, *, make: Callable[..., RedisLog], where: str, limit: int | None
) -> list[Check]:
    missing: dict[Role, list[str]] = {role: await logs.at(0).missing_rights(role) for role in ROLES}
    reports, unreached = await _reports(logs, shards, where=where)
    may_read = not missing["viewer"] and not unreached
    workers = await logs.workers() if may_read else []
    durabilities = _durabilities(workers)
    found = [*unreached, *_of_servers(reports, where=where, durabilities=durabilities)]
    found += rights_checks(missing)
    durability = next(iter(durabilities)) if len(durabilities) == 1 else "memory"
    found += trial_checks([await _tried(make, shard, durability, missing) for shard in reports])
    if may_read:
        found += fleet_checks(await look(logs, workers=workers, limit=limit))
    else:
        why = "a shard cannot be reached" if unreached else "the user lacks the rights of a viewer"
        found.append(Check(check="runs", state="warning", what=f"neither workers nor runs were looked at: {why}"))
    return found


def _durabilities(workers: Sequence[WorkerInfo]) -> set[Durability]:
    """Those that the live workers announce, as far as this version knows them."""
    announced = {str(worker.extra.get("durability", "memory")) for worker in workers}
    return {known for known in get_args(Durability) if known in announced}


def _unusable(where: str, error: PlayheadError, *, shard: int | None = None) -> Check:
    """The failed check of a server; the message of an error without advice also says what to do."""
    reason, advice = (error.reason, error.advice) if isinstance(error, LogUnavailableError) else (str(error), "")
    return Check(check="server", state="failed", what=f"{where}: {reason}", do=advice, shard=shard)


class _Report(NamedTuple):
    """What the server of one shard reported, and what it is called."""

    key: str
    topology: str
    info: Mapping[str, Any]
    fsync: str | None
    trip_ms: float
    ahead_ms: float
    log: RedisLog


async def _reports(logs: ShardedLog, shards: int, *, where: str) -> tuple[dict[int, _Report], list[Check]]:
    """The reports of the shards that can be reached, and a failed check for each of the others."""
    reports: dict[int, _Report] = {}
    unreached: list[Check] = []
    for shard in range(shards):
        try:
            reports[shard] = await _report(logs.at(shard))
        except PlayheadError as error:
            unreached.append(_unusable(where, error, shard=shard))
    return reports, unreached


async def _report(log: RedisLog) -> _Report:
    info = await _info(log)
    if info:
        refuse_unusable(log.client, info)
    trip_ms, ahead_ms = await _clock(log)
    key = str(info.get("run_id") or address_of(log.client))
    topology = tell_topology(log.client, info) if info else ""
    return _Report(key, topology, info, await _fsync(log) if info else None, trip_ms, ahead_ms, log)


async def _info(log: RedisLog) -> dict[str, Any]:
    """The server's `INFO`, also of one that refuses a `PING` because it cannot write; empty for a stand-in."""
    try:
        return await redis_info(log.client) or {}
    except WriteRefusedError:
        with translate_errors(log.client):
            return dict(await log.client.info())


async def _clock(log: RedisLog) -> tuple[float, float]:
    """The mean round trip, and how far the server's clock is ahead of this machine's, both in milliseconds."""
    took, ahead = 0.0, 0.0
    for _ in range(_TRIPS):
        began, here = time.perf_counter(), time.time_ns() / 1e6
        there = await log.now()
        trip = (time.perf_counter() - began) * 1000
        took, ahead = took + trip, there - here - trip / 2
    return took / _TRIPS, ahead


async def _fsync(log: RedisLog) -> str | None:
    """The server's `appendfsync`; None if the user may not ask for it."""
    try:
        with translate_errors(log.client):
            setting: Any = await log.client.execute_command("CONFIG", "GET", "appendfsync")
    except PlayheadError:  # not every user may, and some services have renamed it
        return None
    return setting[1].decode() if setting else None


def _of_servers(reports: Mapping[int, _Report], *, where: str, durabilities: Collection[Durability]) -> list[Check]:
    """The checks of each server, once for all shards that it has."""
    servers: dict[str, tuple[int, _Report]] = {}
    for shard, report in reports.items():
        servers.setdefault(report.key, (shard, report))
    found: list[Check] = []
    for shard, one in servers.values():
        checks = server_checks(
            Server(
                where=where,
                topology=one.topology,
                info=one.info,
                fsync=one.fsync,
                trip_ms=one.trip_ms,
                ahead_ms=one.ahead_ms,
                weaknesses=weaknesses_of(one.log.client, one.info) if one.info else (),
                durabilities=durabilities,
            )
        )
        found += checks if len(servers) == 1 else [replace(check, shard=shard) for check in checks]
    return found


async def _tried(
    make: Callable[..., RedisLog], shard: int, durability: Durability, missing: Mapping[Role, Sequence[str]]
) -> Trial:
    """Try a write, as safe as the workers' are, and a message, as far as the user may."""
    trial = Trial(shard=shard, durability=durability)
    log = make(shard, durability=durability)
    try:
        if not missing["worker"] or not missing["client"]:
            try:
                trial.write_s = await log.try_write()
            except PlayheadError as error:
                trial.write_error = error
        if not missing["client"]:
            try:
                trial.message_s = await log.try_message()
            except PlayheadError as error:
                trial.message_error = error
    finally:
        await log.aclose()
    return trial
