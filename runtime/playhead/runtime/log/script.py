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

    async def __call__(self, client: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it.

        Raises:
            LogUnavailableError: It may or may not have run; send the identical call again.
        """
        finder = finder_of(client)
        if finder is not None and finder.guard is not None and self.name not in _DECLARE_ALL:
            keys = [*keys, finder.guard]
        with translate_errors(client):
            try:
                return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
            except redis_errors.NoScriptError:  # the cache is per server and lost on restart: nothing has run yet
                return await client.execute_command("EVAL", self.text, len(keys), *keys, *args)
