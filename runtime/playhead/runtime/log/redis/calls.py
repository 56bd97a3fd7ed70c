"""The calls of one shard: its keys, its connections, and the rights of its user."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self, cast, get_args

from redis.asyncio import Redis

from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.errors import RedisAuthError
from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.connection import address_of, clone, point, redact, translate_errors
from playhead.runtime.log.redis.durability import Durability, waiting_links
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.rights import Role, missing_rights
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.log.redis.trials import try_message, try_write

__all__ = ["RedisCalls"]


class RedisCalls:
    """Makes the calls of one shard over `client`; see `RedisLog`."""

    def __init__(self, client: Redis, *, prefix: str = "ph", shard: int = 0, durability: Durability = "memory") -> None:
        if isinstance(cast("object", client), str):
            raise TypeError(f"client must be a Redis client, not a URL: pass connect({redact(cast('str', client))!r})")
        check_choice("durability", durability, get_args(Durability))
        self.keys: Keys = Keys(prefix, shard)
        self.durability: Durability = durability
        self._use(client)

    def _use(self, client: Redis) -> None:
        self.client = client
        point(client, self.keys)
        self._commands = Commands(client)
        self._writes = self._commands
        if self.durability != "memory":
            self._writes = Commands(client, waiting_links(self.durability, marker=self.keys.durability_marker))

    def clone(self) -> Self:
        """The same log over connections of its own, for another event loop or thread; close it as this one.

        A subclass' attributes are shared between the two.
        """
        other = copy.copy(self)
        other._use(clone(self.client))
        return other

    async def aclose(self) -> None:
        """Close all connections, the client's too."""
        await self._commands.aclose()
        await self._writes.aclose()
        await self.client.aclose()

    async def check(self) -> list[str]:
        """See `Log.check`."""
        warnings = await check_server(self.client, durability=self.durability)
        await self.check_rights("worker")
        return warnings

    async def missing_rights(self, role: Role) -> list[str]:
        """The rights that the user of the URL lacks for `role`, in the words of `ACL SETUSER`. Asking changes nothing."""
        with translate_errors(self.client):
            return await missing_rights(self.client, self._commands, self.keys, role)

    async def check_rights(self, role: Role) -> None:
        """Refuse a user that lacks a right which `role` needs.

        Raises:
            RedisAuthError: If one is missing; the message names each of them, and how to grant them.
        """
        if missing := await self.missing_rights(role):
            user = self.client.connection_pool.connection_kwargs.get("username") or "default"
            raise RedisAuthError(
                f"Redis at {address_of(self.client)}: the user {user!r} lacks rights that a {role} needs. Give them to it: "
                f"ACL SETUSER {user} {' '.join(missing)}"
            )

    async def try_write(self) -> float:
        """Write a key, as safe as `durability` says, and read it back. Returns the seconds that the write took.

        Raises:
            WriteRefusedError: If the server refuses writes.
            LogUnavailableError: If it does not answer, or the write is not as safe as it must be in time.
            PlayheadError: If another value is read than was written.
        """
        with translate_errors(self.client):
            return await try_write(self.client, self._writes, self.keys)

    async def try_message(self) -> float:
        """Publish a message and receive it. Returns the seconds from the call to the receipt.

        Raises:
            LogUnavailableError: If the message does not arrive.
        """
        with translate_errors(self.client):
            return await try_message(self.client, self._commands, self.keys)

    async def settled_shards(self) -> int | None:
        """The number of shards that the deployment has, as stored on shard 0; None if there is neither a number nor a run.

        A deployment with runs but without that number was used by a version that only knew 1.
        """
        kept, position = await self._calls([("GET", self.keys.shards), ("EXISTS", self.keys.queue_position)])
        return int(kept) if kept else 1 if position else None

    async def settle_shards(self, shards: int) -> int:
        """The number of shards that the deployment has from now on: the first number that was settled."""
        settled = await self.settled_shards()
        if settled is None:
            _, kept = await self._calls([("SET", self.keys.shards, shards, "NX"), ("GET", self.keys.shards)])
            settled = int(kept)
        return settled

    async def _call(self, *command: Any) -> Any:
        with translate_errors(self.client):
            return await self._commands.send(*command)

    async def _calls(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        with translate_errors(self.client):
            sent = [self._commands.send(*command) for command in commands]
            return [await one for one in sent]

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with translate_errors(self.client):
            return await script(self._commands, keys, args)

    async def _write(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script that stores something, and wait until it is as safe as `durability` says."""
        with translate_errors(self.client):
            return await script(self._writes, keys, args)
