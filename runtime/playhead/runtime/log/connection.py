"""Connecting to Redis: options that keep the log's invariants, checks at start, and errors people can act on."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from playhead.runtime.errors import LogUnavailableError, PlayheadError, RedisAuthError, RedisTooOldError

__all__ = ["DEFAULT_URL", "again", "check_server", "connect", "redact", "redis_info", "translate_errors"]

DEFAULT_URL: Final = "redis://localhost:6379"
_MINIMUM: Final = (6, 2)
_PASSING: Final = re.compile(
    r"(OOM|LOADING|BUSY|READONLY|NOREPLICAS|MISCONF|UNBLOCKED|MASTERDOWN|CLUSTERDOWN|TRYAGAIN)\b"
)
"""Refusals that waiting may cure; nothing was written."""

_TIMEOUT_S: Final = 10.0  # above the longest blocking call (2 s), below what a person takes for a hang
_CONNECT_TIMEOUT_S: Final = 5.0


def redact(url: str) -> str:
    """The URL without its password, for messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = parts.username or ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:***@{host}"))


class _PackedInC(AbstractConnection, ABC):
    """A connection that packs commands in C, as redis-py's synchronous one does: an append has hundreds of arguments."""

    def pack_command(self, *args: Any) -> list[bytes]:
        if isinstance(args[0], str) and " " not in args[0]:
            try:
                return [hiredis.pack_command(args)]
            except TypeError:  # redis-py's own packing takes it, or says better why not
                pass
        return super().pack_command(*args)


def connect(url: str = DEFAULT_URL, *, connections: int = 4, timeout: float | None = _TIMEOUT_S) -> Redis:
    """A client for the log; connects at first use. `timeout` bounds each read, in seconds.

    Retries are off: the log's scripts are sent again by their callers, who know what that means. A full pool waits
    instead of raising. RESP2, since the tail hub reads published messages below redis-py's `PubSub`.

    Raises:
        LogUnavailableError: If the URL is not one redis-py understands.
    """
    try:
        pool: Any = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
        )
    except ValueError as error:
        raise LogUnavailableError(
            f"{redact(url)!r} is not a Redis URL ({error}); use redis://[user:password@]host:port[/db]"
        ) from error
    kind: type[AbstractConnection] = pool.connection_class  # TCP, TLS or a Unix socket, by the URL
    pool.connection_class = type(f"Packed{kind.__name__}", (_PackedInC, kind), {})
    return Redis.from_pool(pool)


_OF_ONE_POOL: Final = ("himport_registry", "event_dispatcher")  # made by the pool itself; hold locks and connections


def again(client: Redis) -> Redis:
    """A client with the options of `client` and connections of its own, made at first use: for another event loop."""
    pool: Any = client.connection_pool  # a wrapped or stand-in client's pool differs in its kind of connection only
    options = {name: value for name, value in pool.connection_kwargs.items() if name not in _OF_ONE_POOL}
    if isinstance(pool, BlockingConnectionPool):
        options["timeout"] = pool.timeout
    kind: Any = type(pool)
    return Redis.from_pool(
        kind(connection_class=pool.connection_class, max_connections=pool.max_connections, **options)
    )


def _address(client: Redis) -> str:
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


@contextmanager
def translate_errors(client: Redis) -> Generator[None]:
    """Turn redis-py's exceptions into playhead's, which say what to do.

    After `LogUnavailableError` a write may or may not have happened: its caller sends the identical call again.
    """
    try:
        yield
    except (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.NoPermissionError) as error:
        raise RedisAuthError(
            f"Redis at {_address(client)} refused the credentials ({error}); "
            "put them in the URL: redis://user:password@host:port"
        ) from error
    except (redis_errors.BusyLoadingError, redis_errors.ReadOnlyError, redis_errors.OutOfMemoryError) as error:
        raise LogUnavailableError(f"Redis at {_address(client)} cannot take writes now: {error}") from error
    except redis_errors.InvalidResponse as error:
        raise LogUnavailableError(
            f"{_address(client)} answers, but does not speak Redis' protocol. Is it the right port?"
        ) from error
    except (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError) as error:
        raise LogUnavailableError(
            f"cannot reach Redis at {_address(client)}: {str(error).rstrip('.')}. Is it running? "
            "`playhead dev` starts one; --url or PLAYHEAD_URL names another."
        ) from error
    except redis_errors.ResponseError as error:
        if "NOAUTH" in str(error) or "WRONGPASS" in str(error) or "invalid password" in str(error):
            raise RedisAuthError(f"Redis at {_address(client)} wants a password; put it in the URL") from error
        if _PASSING.match(str(error)):
            raise LogUnavailableError(f"Redis at {_address(client)} cannot take writes now: {error}") from error
        raise PlayheadError(f"Redis at {_address(client)} refused: {error}") from error


async def redis_info(client: Redis) -> dict[str, Any] | None:
    """`INFO` as a dict, or None where the server has no `INFO` (fakeredis)."""
    with translate_errors(client):
        await client.execute_command("PING")
    try:
        with translate_errors(client):
            info = await client.info()
    except PlayheadError as error:
        if "unknown command" in str(error).lower() or "not implemented" in str(error).lower():
            return None
        raise
    return dict(info)


async def check_server(client: Redis) -> list[str]:
    """Refuse a server that cannot keep the promises, and name what weakens them.

    Returns:
        Warnings, one line each: an evicting `maxmemory-policy`, no persistence.

    Raises:
        RedisTooOldError: Below Redis 6.2.
        LogUnavailableError, RedisAuthError: As the names say.
    """
    info = await redis_info(client)
    if info is None:
        return []
    version = str(info.get("redis_version", "0.0"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < _MINIMUM:
        raise RedisTooOldError(f"Redis at {_address(client)} is {version}; playhead needs 6.2 or newer")
    warnings: list[str] = []
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: under memory pressure Redis may delete the logs of live runs. "
            "Set it to noeviction."
        )
    if str(info.get("aof_enabled", "0")) == "0":
        warnings.append("appendonly is off: a restart of Redis may lose runs. Set appendonly yes.")
    return warnings
