"""Connects to Redis with options that keep the log's invariants, and translates its errors into ones that say what to do."""

from __future__ import annotations

import copy
import re
from abc import ABC
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from playhead.runtime.core.arguments import check_number, check_text
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError, WriteRefusedError
from playhead.runtime.log.redis.finders import NowhereError
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.located_connection import LocatedConnection, finder_of
from playhead.runtime.log.redis.topology_url import read_topology

__all__ = ["DEFAULT_URL", "address_of", "clone", "connect", "point", "redact", "translate_errors"]

DEFAULT_URL: Final = "redis://localhost:6379"
_CANNOT_NOW: Final = (
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    redis_errors.TryAgainError,
)
_REFUSED: Final = re.compile(
    r"^(OOM|LOADING|BUSY|READONLY|NOREPLICAS|MISCONF|CLUSTERDOWN|MASTERDOWN)\b|access a non local key"
)
"""Refusals of writes that pass by themselves. `access a non local key`: the slot is being moved."""

_IN_SCRIPT: Final = re.compile(r" script: .*$", re.DOTALL)
"""Where in a script Redis refused, at the end of a refusal: for those who write the script."""

_PASSING: Final = re.compile(r"^UNBLOCKED\b|WAIT(AOF)? cannot be used")
"""Other errors that pass by themselves."""

_FULL: Final = re.compile("^(Too many connections|No connection available)")
"""The errors of redis-py's full pools; the server is not the cause."""

_OWN_OPTIONS: Final = frozenset(
    {
        *("decode_responses", "encoding", "encoding_errors", "protocol", "legacy_responses", "parser_class"),
        *("max_connections", "timeout", "retry", "retry_on_timeout", "retry_on_error", "single_connection_client"),
        *("health_check_interval", "socket_read_size", "auto_close_connection_pool", "cache", "cache_config"),
    }
)
"""Options of redis-py that would break the log, or have no meaning for it: replies are read as bytes of RESP2, calls share
a connection, and only the log knows what may be sent again."""

_TIMEOUT_S: Final = 10.0  # above the longest blocking call (2 s), and short enough for a person to wait
_CONNECT_TIMEOUT_S: Final = 5.0
_MOVING_TIMEOUT_S: Final = 3.0  # shorter, because another server may have replaced one that hangs
_MOVING_CONNECT_TIMEOUT_S: Final = 2.0


def redact(url: str) -> str:
    """The URL without its passwords, for messages and logs. In any other string, everything that might be a password is hidden."""
    # Up to the last @: a password may contain a / or ? that should have been escaped.
    hidden = re.sub(r"^((?:[^/]*//)?[^:@/?#]*):(?!//).*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*password=)[^&#]*", r"\1***", hidden)


class _Telling(AbstractConnection, ABC):
    """A connection that raises redis-py's ConnectionError when the other end has just closed it.

    uvloop raises a bare RuntimeError there, which no caller would take for a lost connection.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise redis_errors.ConnectionError(str(error)) from error


def connect(url: str = DEFAULT_URL, *, timeout: float | None = _TIMEOUT_S) -> Redis:
    """Make a client for the log, which connects at first use. `timeout` limits each call, in seconds; 3 with sentinels
    or a cluster.

    Retries are off: the log's callers send a script again themselves, because only they know whether a repeat is safe.
    RESP2, because the log and the tail hub read replies without redis-py.

    Args:
        url: `redis://[user:password@]host:port[/db]`, or with `rediss://` over TLS, `unix:///path`; several hosts with
            `redis+sentinel://…/service[/db]` or `redis+cluster://` for a primary that moves (see `finders`). Options
            that the log sets itself, such as `decode_responses` and `max_connections`, have no effect.

    Raises:
        LogUnavailableError: If the URL is malformed; the message says which part.
    """
    check_text("url", url, empty=True)
    check_number("timeout", timeout, above=0, optional=True)
    try:
        pool = _pool(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
        )
        pool.make_connection()  # connects nothing, but refuses options that do not exist
    except (ValueError, TypeError, redis_errors.RedisError) as error:
        wrong = re.sub(r".*unexpected keyword argument", "it has no option", str(error))
        wrong = re.sub(r"Redis URL must specify .*", "it does not begin with such a scheme as redis://", wrong)
        raise LogUnavailableError(
            f"{redact(url)!r} is not a Redis URL ({wrong}); use redis://[user:password@]host:port[/db], "
            "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
        ) from error
    return Redis.from_pool(pool)


def _without_own_options(url: str) -> str:
    """The URL without the options that the log sets itself, such as `decode_responses`: another program may want them."""
    address, mark, query = url.partition("?")
    return address + mark + "&".join(part for part in query.split("&") if part.partition("=")[0] not in _OWN_OPTIONS)


def _pool(url: str, **options: Any) -> Any:
    """The pool of connections for `url`. Raises ValueError, or TypeError for an option that it cannot have."""
    after_host = re.sub(r"^[^/?#]*:/*[^/?#]*", "", url)
    if "@" in after_host and not url.startswith("unix:"):
        # The error does not quote the part, which may be half a password.
        raise ValueError("a / ? # or @ that is not one of the URL's own must be escaped, as %2F %3F %23 or %40")
    topology = read_topology(_without_own_options(url))
    plain, finder = topology or (_without_own_options(url), None)
    if finder is not None:
        timeout = options["socket_timeout"]
        options["socket_timeout"] = None if timeout is None else min(timeout, _MOVING_TIMEOUT_S)
        options["socket_connect_timeout"] = _MOVING_CONNECT_TIMEOUT_S
    pool: Any = ConnectionPool.from_url(plain, **options)
    kind: type[AbstractConnection] = pool.connection_class  # TCP, TLS or a Unix socket, by the URL
    telling = type(f"Telling{kind.__name__}", (_Telling, kind), {})
    if finder is None:
        pool.connection_class = telling
    else:
        finder.use(telling, pool.connection_kwargs)
        pool.connection_class = type(f"Located{kind.__name__}", (LocatedConnection, telling), {})
        pool.connection_kwargs["finder"] = finder
        # Safe to retry: a server that answers so has executed nothing. The second try goes to the server that it named.
        pool.connection_kwargs["retry"] = Retry(NoBackoff(), 1, (redis_errors.MovedError, redis_errors.ReadOnlyError))
    return pool


_OF_ONE_POOL: Final = (
    "himport_registry",
    "event_dispatcher",
)  # made by the pool itself; they hold locks and connections


def clone(client: Redis) -> Redis:
    """Make a client with the options of `client` and its own connections, for another event loop."""
    pool: Any = client.connection_pool  # a wrapped or stand-in client's pool differs in its kind of connection only
    options = {name: value for name, value in pool.connection_kwargs.items() if name not in _OF_ONE_POOL}
    if (finder := finder_of(client)) is not None:
        options["finder"] = copy.copy(finder)
    if isinstance(pool, BlockingConnectionPool):
        options["timeout"] = pool.timeout
    kind: Any = type(pool)
    return Redis.from_pool(
        kind(connection_class=pool.connection_class, max_connections=pool.max_connections, **options)
    )


def point(client: Redis, keys: Keys) -> None:
    """Connect to the server that has `keys`: in a cluster, the owner of their slot. Does nothing elsewhere.

    Raises:
        ValueError: If the client already serves other keys: on a cluster, each prefix needs its own client.
    """
    if (finder := finder_of(client)) is not None:
        finder.point(keys.root)


def address_of(client: Redis) -> str:
    options = client.connection_pool.connection_kwargs
    if (finder := finder_of(client)) is not None:
        return f"{finder.found}, found by {finder}" if finder.found else str(finder)
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _no_right(client: Redis, error: Exception | str) -> str:
    return f"Redis at {address_of(client)} refused: {error}. Give the user of the URL this right (ACL SETUSER)"


@contextmanager
def translate_errors(client: Redis) -> Generator[None]:
    """Turn redis-py's exceptions into playhead's, which say what to do.

    After `LogUnavailableError` a write may or may not have happened: its caller sends the identical call again.
    """
    try:
        yield
    except NowhereError as error:
        raise LogUnavailableError(str(error)) from error
    except redis_errors.NoPermissionError as error:
        raise RedisAuthError(_no_right(client, error)) from error
    except (redis_errors.AuthenticationError, redis_errors.AuthorizationError) as error:
        raise RedisAuthError(
            f"Redis at {address_of(client)} refused the credentials ({error}); "
            "put them in the URL: redis://user:password@host:port"
        ) from error
    except redis_errors.AskError as error:  # MOVED too
        if finder_of(client) is None:
            raise PlayheadError(
                f"Redis at {address_of(client)} is a node of a cluster and does not have all the keys; "
                "use redis+cluster://host:port,host:port"
            ) from error
        raise LogUnavailableError(f"Redis at {address_of(client)} no longer has the keys: {error}") from error
    except _CANNOT_NOW as error:
        raise _refused_write(client, str(error)) from error
    except redis_errors.InvalidResponse as error:
        raise LogUnavailableError(
            f"{address_of(client)} answers, but does not speak Redis' protocol. Is it the right port?"
        ) from error
    except (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError) as error:
        raise _no_connection(client, error) from error
    except redis_errors.ResponseError as error:
        raise _refusal(client, str(error)) from error


def _refusal(client: Redis, message: str) -> PlayheadError:
    """The error for a reply of Redis for which redis-py has no exception of its own."""
    server = f"Redis at {address_of(client)}"
    if "NOAUTH" in message or "WRONGPASS" in message or "invalid password" in message:
        return RedisAuthError(f"{server} wants a password; put it in the URL")
    if "ACL failure in script" in message:
        return RedisAuthError(_no_right(client, message))
    if _REFUSED.search(message):
        return _refused_write(client, message)
    if _PASSING.search(message):
        return LogUnavailableError(f"{server} cannot take writes now: {message}")
    return PlayheadError(f"{server} refused: {message}")


def _refused_write(client: Redis, message: str) -> WriteRefusedError:
    reason = f"Redis at {address_of(client)} cannot take writes now: {_IN_SCRIPT.sub('', message)}"
    return WriteRefusedError(reason, advice="`playhead doctor` says what to do.")


def _no_connection(client: Redis, error: Exception) -> LogUnavailableError:
    if _FULL.search(str(error)):
        return LogUnavailableError(
            f"no more connections to Redis at {address_of(client)} are allowed: the client given may have "
            f"{client.connection_pool.max_connections}, and a log takes up to 3 of them"
        )
    return LogUnavailableError(
        f"cannot reach Redis at {address_of(client)}: {str(error).rstrip('.')}.",
        advice="Is it running? `playhead dev` starts one; --url or PLAYHEAD_URL names another.",
    )
