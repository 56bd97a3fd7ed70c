"""Loads and calls the Lua scripts: `EVALSHA`, and `EVAL` if the server does not know the script."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Sequence
from functools import partial
from importlib import resources
from typing import Any, Final, NamedTuple

from redis import exceptions as redis_errors

from playhead.runtime.log.redis.commands import Commands, Later

__all__ = ["Script", "commands_of"]

_DECLARE_ALL: Final = ("append", "renew", "claim", "got_on", "should_empty")
"""Scripts that need no guard: they declare what they write, or (`claim`'s memo of the token) a key that is not there."""

_SHARED: Final = ("common", "fence")
"""Files that go before every script."""

_WITHOUT_RUN_STATES: Final = ("append", "renew", "announce", "adopt", "got_on", "should_empty", "import_part")
"""Scripts that change no run's state and go without `run_states.lua`, whose functions would be created in every call."""

_BEFORE_ANY_WRITE: Final = {"append": ("HMGET", "XADD")}
"""Commands whose rights need no check in advance, because they come before the script's first write or are it. Only for
`append`, because a check costs 0.4 µs of the server's time."""

_CALL: Final = re.compile(r"\bp?call\('([A-Z]+)'")


class _Form(NamedTuple):
    text: str
    sha: str


def commands_of(text: str) -> list[str]:
    """The commands that a script makes, in order, without the one that publishes, whose refusal stops no script."""
    return sorted(set(_CALL.findall(re.sub("--.*", "", text))))


class Script:
    """One script of `scripts/`, by name.

    `common.lua` and `fence.lua` go before it, and `run_states.lua` if it changes a run's state. Before its first write
    it checks that its user may make all its calls, because a refusal after a write would leave half of a change (Redis
    7; older servers cannot be asked).

    Attributes:
        name: The file's.
        commands: The commands that it makes.
        text: The text for a server that is not a cluster's node; on a node, another command publishes.
        sha: The digest of that text, by which the server finds it.
    """

    def __init__(self, name: str) -> None:
        folder = resources.files("playhead.runtime.log.redis").joinpath("scripts")
        self.name = name
        parts = [*_SHARED, name] if name in _WITHOUT_RUN_STATES else [*_SHARED, "run_states", name]
        *shared, own = (folder.joinpath(f"{part}.lua").read_text() for part in parts)
        self.commands: list[str] = commands_of("".join([*shared, own]))
        needed = [f"'{one}'" for one in self.commands if one not in _BEFORE_ANY_WRITE.get(name, ())]
        text = "".join([*shared, f"check_rights({{{', '.join(needed)}}})\n", own])
        self._plain, self._sharded = (_form(f"local PUBLISH = '{word}'\n{text}") for word in ("PUBLISH", "SPUBLISH"))
        self.text: str = self._plain.text
        self.sha: str = self._plain.sha

    def __call__(self, commands: Commands, keys: Sequence[str], args: Sequence[Any]) -> Awaitable[Any]:
        """Run the script. The call is written before this returns if `commands` is ready, else upon await, which
        returns the answer.

        Awaiting raises what redis-py raises. After a lost connection the script may or may not have run: send the
        identical call again.
        """
        if commands.guard is not None and self.name not in _DECLARE_ALL:
            keys = [*keys, commands.guard]
        rest = (len(keys), *keys, *args)
        sent = commands.send("EVALSHA", self._form(commands).sha, *rest) if commands.ready else None
        return Later(partial(self._answer, commands, sent, rest))

    def _form(self, commands: Commands) -> _Form:
        return self._sharded if commands.sharded else self._plain

    async def _answer(self, commands: Commands, sent: Awaitable[Any] | None, rest: tuple[Any, ...]) -> Any:
        if sent is None:
            await commands.connect()  # only then is it known which form the server needs
            sent = commands.send("EVALSHA", self._form(commands).sha, *rest)
        try:
            return await sent
        except redis_errors.NoScriptError:  # the cache is per server and lost on restart: nothing has run yet
            return await commands.send("EVAL", self._form(commands).text, *rest)


def _form(text: str) -> _Form:
    return _Form(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
