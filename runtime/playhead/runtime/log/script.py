"""Loading and calling the Lua scripts: `EVALSHA`, with `EVAL` where the server does not know the script (any more)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from playhead.runtime.log.connection import translate_errors
from playhead.runtime.log.topology import finder_of

__all__ = ["Script"]

_DECLARE_ALL: Final = ("append", "renew", "claim")
"""Scripts that need no guard: they declare what they write, or (`claim`'s memo of the token) a key that is not there."""


class Script:
    """One script of `scripts/`, by name; `common.lua` goes before it."""

    def __init__(self, name: str) -> None:
        folder = resources.files("playhead.runtime.log").joinpath("scripts")
        self.name = name
        self.text = "".join(folder.joinpath(f"{part}.lua").read_text() for part in ("common", name))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self, client: Redis, keys: Sequence[str], args: Sequence[Any], *, behind: Sequence[tuple[Any, ...]] = ()
    ) -> Any:
        """Run it, and `behind` it these commands, over the same connection and in the same round trip.

        Returns:
            The script's answer; with commands behind it, a list of that and theirs.

        Raises:
            LogUnavailableError: It may or may not have run; send the identical call again.
        """
        finder = finder_of(client)
        if finder is not None and finder.guard is not None and self.name not in _DECLARE_ALL:
            keys = [*keys, finder.guard]
        with translate_errors(client):
            try:
                return await _send(client, ("EVALSHA", self.sha, len(keys), *keys, *args), behind)
            except redis_errors.NoScriptError:  # the cache is per server and lost on restart: nothing has run yet
                return await _send(client, ("EVAL", self.text, len(keys), *keys, *args), behind)


async def _send(client: Redis, command: tuple[Any, ...], behind: Sequence[tuple[Any, ...]]) -> Any:
    if not behind:
        return await client.execute_command(*command)
    pipeline = client.pipeline(transaction=False)
    for one in (command, *behind):
        pipeline.execute_command(*one)
    replies = await pipeline.execute(raise_on_error=False)  # redis-py's own error would quote the arguments
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
