"""How safe a write must be before its caller is told that it is stored: `WAIT` and `WAITAOF` behind it.

`fsynced` needs `appendfsync always`, and `WAITAOF` then confirms what the server does anyway. With `everysec`, the way it
was meant for, it answers before the disk has anything on Redis 7.4 before its fix (redis/redis#13793) and on Valkey up to
9.1 (measured).

Both wait for the last write of their own connection, as the server counts it. So they go with the write, in one round
trip. A write sent again is answered without being made again, perhaps over another connection, whose last write is an
older one: `WAIT` would then count replicas that lack the record (measured: it answers 1 while the only replica is
stopped). Hence the marker, a write that is always made, behind the script: what waits for it waits for all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from playhead.runtime.errors import LogUnavailableError

__all__ = ["Durability", "Wait"]

Durability = Literal["memory", "replicated", "fsynced"]
"""`memory`: in the memory of the primary. `replicated`: in that of one replica too. `fsynced`: on the primary's disk."""

_WAIT_MS: Final = 1000
_MARKER_MS: Final = 60_000


class Wait:
    """What follows a script, and what is made of the answer."""

    def __init__(self, durability: Literal["replicated", "fsynced"], *, marker: str) -> None:
        self._durability = durability
        wait = ("WAIT", 1, _WAIT_MS) if durability == "replicated" else ("WAITAOF", 1, 0, _WAIT_MS)
        self.commands: Sequence[tuple[Any, ...]] = (("SET", marker, 1, "PX", _MARKER_MS), wait)

    def check(self, reply: Any) -> None:
        """Take the last command's reply in.

        Raises:
            LogUnavailableError: Fewer than asked for have it. It is written, and may be lost yet: send it again.
        """
        if self._durability == "replicated" and int(reply) < 1:
            raise LogUnavailableError(
                f"durability `replicated`: written, but no replica had it within {_WAIT_MS} ms (1 was asked for, "
                f"{reply} had it). Is one connected?"
            )
        if self._durability == "fsynced" and int(reply[0]) < 1:
            raise LogUnavailableError(
                f"durability `fsynced`: written, but not on disk within {_WAIT_MS} ms. Is `appendfsync` still always?"
            )
