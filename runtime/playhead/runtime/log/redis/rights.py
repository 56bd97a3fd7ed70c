"""Finds which of the rights that it needs a user of Redis lacks, on its own connection and without changing anything.

`ACL DRYRUN` could tell, but only administrators may use it. So calls that change nothing are made: every read, on keys
of no run, a wait for a list, a message to a channel without a listener, a subscription. A script asks about the writes:
`redis.acl_check_cmd` answers for the user that calls, for that command on that key, as the server itself would decide. It
also covers keys that exist once in a deployment, such as `leases`, on which no trial would be harmless. Redis 6 has no such
function: there the writes are not checked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.trials import own_connection

__all__ = ["ROLES", "Role", "acl_rules", "commands_for", "missing_rights", "refused_right"]

Role = Literal["worker", "client", "viewer"]
"""`worker` runs agents, `client` starts and controls runs and reads them, `viewer` only reads."""

ROLES: Final[tuple[Role, ...]] = ("worker", "client", "viewer")

_VIEWER_READS: Final = (
    *("EXISTS", "GET", "HGET", "HMGET", "LRANGE", "TIME", "XRANGE", "XREVRANGE"),
    *("ZCOUNT", "ZMSCORE", "ZRANGE", "ZSCORE"),
)
_WORKER_READS: Final = ("EXISTS", "GET", "HGET", "HMGET", "LRANGE", "TIME", "XRANGE", "ZRANGE")
_SCRIPTS: Final = {
    *("DEL", "GET", "HDEL", "HGET", "HINCRBY", "HMGET", "HSET", "LPOP", "LRANGE", "LREM", "LTRIM", "PEXPIRE", "RPUSH"),
    *("PERSIST", "PEXPIREAT", "PTTL", "TYPE", "SET", "TIME", "XADD", "ZADD", "ZRANGEBYSCORE", "ZREM", "ZSCORE"),
}
_CLIENT_SCRIPTS: Final = _SCRIPTS | {"EXISTS", "HEXISTS", "PERSIST", "ZCOUNT", "ZRANDMEMBER", "ZRANGE"}
_WORKER_SCRIPTS: Final = _CLIENT_SCRIPTS | {"XLEN", "ZCARD", "ZREMRANGEBYSCORE"}  # it submits children, too
_CALLING: Final = ("EVAL", "EVALSHA")

_NONE: Final = "rights-check"
"""The id of a run, session and worker that do not exist; part of the names of the keys and channels that are tried."""

_UNKNOWN: Final = re.compile(r"unknown command|[Ii]nvalid command")

_ASK: Final = """
local commands = tonumber(ARGV[1])
if not redis.acl_check_cmd then return false end
local function allowed(...)
  local known, answer = pcall(redis.acl_check_cmd, ...)
  return known and answer
end
local missing, reached = {}, {}
if not allowed('EVAL', '', '0') then missing[1] = 'EVAL' end
for c = 2, commands + 1 do
  local some = false
  for k, key in ipairs(ARGV) do
    if k > commands + 1 and allowed(ARGV[c], key) then some, reached[key] = true, true end
  end
  if not some then missing[#missing + 1] = ARGV[c] end
end
local closed = {}
for k = commands + 2, #ARGV do
  if not reached[ARGV[k]] then closed[#closed + 1] = ARGV[k] end
end
return {missing, closed}
"""
"""Returns the commands that are allowed on none of the keys, and the keys on which no command is allowed."""

_ASK_SHA: Final = hashlib.sha1(_ASK.encode(), usedforsecurity=False).hexdigest()


def commands_for(role: Role, *, sharded: bool = False) -> list[str]:
    """The commands that a user in that role makes; `sharded` on a node of a cluster of version 7 or later."""
    listen = ["SSUBSCRIBE", "SUNSUBSCRIBE"] if sharded else ["SUBSCRIBE", "UNSUBSCRIBE"]
    publish = "SPUBLISH" if sharded else "PUBLISH"
    if role == "viewer":
        return sorted({"PING", *_VIEWER_READS, *listen})
    if role == "client":
        return sorted({"PING", *_VIEWER_READS, *listen, *_CALLING, *_CLIENT_SCRIPTS, publish})
    return sorted({"PING", *_WORKER_READS, *_CALLING, *_WORKER_SCRIPTS, publish, "BLPOP"})


def acl_rules(role: Role, *, prefix: str = "ph") -> str:
    """The rules that `ACL SETUSER` needs for a user in that role, for all shards of the prefix."""
    access = "%R~" if role == "viewer" else "~"
    commands = " ".join(f"+{name.lower()}" for name in commands_for(role))
    return f"resetkeys {access}{{{prefix}:*}}:* resetchannels &{{{prefix}:*}}:log:* -@all {commands}"


def refused_right(error: Exception, command: str, on: str) -> str | None:
    """The rule that the user lacks, from the server's refusal of `command` on the key or channel `on`; None for another
    error.

    Servers of different versions word it differently, but all of them distinguish commands, keys and channels.
    """
    text = str(error)
    if isinstance(error, redis_errors.ResponseError) and _UNKNOWN.search(text):
        return f"+{command.lower()} (the server does not know the command)"
    if not (isinstance(error, redis_errors.NoPermissionError) or "ACL failure" in text):
        return None
    if "channel" in text:
        return f"&{on}"
    return f"~{on}" if re.search(r"\bkeys?\b", text) else f"+{command.lower()}"


async def missing_rights(client: Redis, commands: Commands, keys: Keys, role: Role) -> list[str]:
    """The rules that the user lacks for that role, in the words of `ACL SETUSER`; empty if none is known to be missing.

    Raises what redis-py raises.
    """
    await commands.connect()
    if commands.without_link:  # a stand-in in memory, which has no users
        return []
    sharded = commands.sharded
    missing = await _done(commands, _reads(keys, role))
    if role != "worker":
        missing += await _listening(client, keys, sharded=sharded)
    if role == "worker":
        missing += await _waiting(client, keys)
    if role != "viewer":
        publish = "SPUBLISH" if sharded else "PUBLISH"
        missing += await _done(commands, [(publish, keys.log(_NONE), "")])
        missing += await _asked(commands, keys, role)
    return list(dict.fromkeys(_widened(missing, keys)))


def _reads(keys: Keys, role: Role) -> list[tuple[Any, ...]]:
    """Each read, as it is used; a worker's reads are among a viewer's."""
    run, log, session = keys.run(_NONE), keys.log(_NONE), keys.session(_NONE)
    used: list[tuple[Any, ...]] = [
        ("PING", "there"),
        ("EXISTS", keys.queue_position),
        ("GET", keys.shards),
        ("GET", keys.worker(_NONE)),
        ("HGET", session, "holder"),
        ("HMGET", run, "state"),
        ("LRANGE", keys.inbox(_NONE), 0, 0),
        ("TIME",),
        ("XRANGE", log, "-", "+", "COUNT", 1),
        ("XRANGE", keys.messages(_NONE), "-", "+", "COUNT", 1),
        ("XREVRANGE", log, "+", "-", "COUNT", 1),
        ("ZRANGE", keys.workers, 0, 0),
        ("ZRANGE", keys.runs, "+inf", "-inf", "BYSCORE", "REV", "LIMIT", 0, 1),
        ("ZSCORE", keys.leases, _NONE),
        ("ZCOUNT", keys.index(_NONE), 0, 0),
        ("ZMSCORE", keys.index(_NONE), _NONE),
    ]
    needed = {"PING", *(_WORKER_READS if role == "worker" else _VIEWER_READS)}
    return [command for command in used if command[0] in needed]


async def _done(commands: Commands, tried: Iterable[tuple[Any, ...]]) -> list[str]:
    """The rights that these calls, which change nothing, are refused for."""
    sent = [(command, commands.send(*command)) for command in tried]
    missing: list[str] = []
    for command, answer in sent:
        try:
            await answer
        except redis_errors.ResponseError as error:
            if (right := refused_right(error, str(command[0]), "".join(map(str, command[1:2])))) is not None:
                missing.append(right)
    return missing


async def _asked(commands: Commands, keys: Keys, role: Role) -> list[str]:
    """The rights that are missing to run the scripts, by the server's answer."""
    needed = sorted((_CLIENT_SCRIPTS if role == "client" else _WORKER_SCRIPTS) - {"TIME"})  # which has no key
    asked = (0, len(needed), *needed, *_written(keys, role))
    command, script = "EVALSHA", _ASK_SHA
    try:
        try:
            answer = await commands.send(command, script, *asked)
        except redis_errors.NoScriptError:
            command, script = "EVAL", _ASK
            answer = await commands.send(command, script, *asked)
    except redis_errors.ResponseError as error:
        if (right := refused_right(error, command, "")) is not None:
            return [right]
        raise
    missing, closed = answer or ((), ())
    if len(missing) >= len(needed):  # hardly because of the commands
        return [f"~{keys.root}*"]
    return [*(f"+{one.decode().lower()}" for one in missing), *(f"~{one.decode()}" for one in closed)]


def _written(keys: Keys, role: Role) -> list[str]:
    """A key of each kind that scripts write."""
    workers = [keys.claimed(_NONE), keys.worker(_NONE), keys.workers, keys.emptying]
    own = [*workers, keys.ids] if role == "worker" else [keys.ids, keys.shards]
    return [
        *keys.of_run(_NONE),
        *(
            keys.ready(_NONE),
            keys.suspects(_NONE),
            keys.serving(_NONE),
            keys.queues,
            keys.notify_agent(_NONE),
            keys.notify_worker(_NONE),
        ),
        *(keys.session(_NONE), keys.messages(_NONE), keys.about(_NONE), keys.waiting(_NONE)),
        *(keys.leases, keys.deadlines, keys.queue_position, keys.sessions),
        *(keys.runs, keys.index(_NONE), keys.expiring),
        *(keys.steers(_NONE), keys.steered(_NONE)),
        *own,
    ]


async def _listening(client: Redis, keys: Keys, *, sharded: bool) -> list[str]:
    """The rights that are missing to follow publications, tried with a subscription that ends at once."""
    words = ("SSUBSCRIBE", "SUNSUBSCRIBE") if sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
    return await _on_one_connection(client, [(word, keys.log(_NONE)) for word in words])


async def _waiting(client: Redis, keys: Keys) -> list[str]:
    """The rights that are missing to wait for work.

    The rights are looked at before the timeout, which is refused at once: an idle server would end a short wait only
    with its next tick, after up to 0.1 s.
    """
    lists = (keys.notify_worker(_NONE), keys.notify_agent(_NONE))
    return await _on_one_connection(client, [("BLPOP", key, -1) for key in lists])


async def _on_one_connection(client: Redis, tried: Iterable[tuple[Any, ...]]) -> list[str]:
    """Like `_done`, for commands that the shared connection must not be given, on one that is then closed."""
    missing: list[str] = []
    async with own_connection(client) as connection:
        for command in tried:
            try:
                await connection.send_command(*command)
                await connection.read_response()
            except redis_errors.ResponseError as error:
                if (right := refused_right(error, str(command[0]), "".join(map(str, command[1:2])))) is not None:
                    missing.append(right)
    return missing


def _widened(missing: Sequence[str], keys: Keys) -> list[str]:
    """The rules with ids replaced by `*`: a right to one run's key is a right to those of all runs."""
    rules = [re.sub(f"{_NONE}$", "*", one) if one.startswith(("~", "&")) else one for one in missing]
    every = f"~{keys.root}*"
    return [one for one in rules if one == every or not one.startswith("~")] if every in rules else rules
