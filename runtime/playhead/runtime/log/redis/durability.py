"""Waits until a write is safe before its caller learns that it is stored: `WAIT` or `WAITAOF` after the write.

`fsynced` needs `appendfsync always`, with which `WAITAOF` confirms what the server does anyway. With `everysec`, for
which `WAITAOF` was made, Redis 7.4 before its fix (redis/redis#13793) and Valkey up to 9.1 answer before the data is on
disk (measured).

Both wait for the last write of their own connection, as the server counts it. So they go with the write, in one round
trip. A write sent again is answered without being made again, perhaps over another connection, whose last write is an
older one: `WAIT` would then count replicas that lack the record (measured: it answers 1 while the only replica is
stopped). Hence the marker, a write that is always made, after the script: a wait for it is a wait for all writes before it.

The server reads nothing more from a connection that waits. So such writes have a link of their own, and writes that
arrive during a wait are sent together afterwards, with one wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from redis.asyncio import Redis

from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.log.redis.link import Borrowed, Link, NoTransportError, borrow, refuse

__all__ = ["Durability", "waiting_links"]

Durability = Literal["memory", "replicated", "fsynced"]
"""`memory`: in the primary's memory. `replicated`: in one replica's memory too. `fsynced`: on the primary's disk."""

_WAIT_MS: Final = 1000
_MARKER_MS: Final = 60_000

_Call = tuple[tuple[Any, ...], "asyncio.Future[Any]"]


def waiting_links(
    durability: Literal["replicated", "fsynced"], *, marker: str
) -> Callable[[Redis], Awaitable[WaitingLink]]:
    """Make a function that opens links whose calls are answered once their writes are that safe; `marker` is a key to write.

    Opening raises as `borrow` does, and LogUnavailableError if the client is a stand-in, which cannot wait.
    """

    async def open_link(client: Redis) -> WaitingLink:
        try:
            return WaitingLink(await borrow(client), durability, marker)
        except NoTransportError as error:
            raise LogUnavailableError(f"durability `{durability}`: this Redis is a stand-in in memory") from error

    return open_link


class WaitingLink(Link):
    """A link whose replies come when the wait after their calls is over.

    A call that is not safe in time fails with LogUnavailableError: send it again.
    """

    def __init__(self, borrowed: Borrowed, durability: Literal["replicated", "fsynced"], marker: str) -> None:
        super().__init__(borrowed)
        self._durability = durability
        self._marker = ("SET", marker, 1, "PX", _MARKER_MS)
        self._wait = ("WAIT", 1, _WAIT_MS) if durability == "replicated" else ("WAITAOF", 1, 0, _WAIT_MS)
        self._next: list[_Call] = []
        self._waits = False

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Like `Link.call`; written at once unless a wait is under way."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._next.append((command, future))
        if not self._waits:
            self._go()
        return future

    def _go(self) -> None:
        calls, self._next = self._next, []
        replies = [super(WaitingLink, self).call(*command) for command, _ in calls]
        marked = super().call(*self._marker)
        self._waits = True
        waited = super().call(*self._wait)
        waited.add_done_callback(partial(self._settle, [future for _, future in calls], replies, marked))

    def _settle(
        self,
        futures: Sequence[asyncio.Future[Any]],
        replies: Sequence[asyncio.Future[Any]],
        marked: asyncio.Future[Any],
        waited: asyncio.Future[Any],
    ) -> None:
        self._waits = False
        # A marker that was refused, by a full server say, was not waited for: the wait was for an older write.
        unsafe = waited.exception() or marked.exception() or self._unsafe(waited.result())
        for future, reply in zip(futures, replies, strict=True):
            error = reply.exception() or unsafe  # replies come in order: all of them are there
            if error is not None:
                refuse(future, error)
            elif not future.done():
                future.set_result(reply.result())
        if self._next:
            self._go()
        else:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not self._next and not self._waits:
            super()._close_if_idle()

    def _unsafe(self, reply: Any) -> LogUnavailableError | None:
        """The error for writes that may still be lost, from the answer to the wait; None if they are safe."""
        if self._durability == "replicated" and int(reply) < 1:
            return LogUnavailableError(
                f"durability `replicated`: written, but no replica had it within {_WAIT_MS} ms (1 was asked for, "
                f"{reply} had it). Is one connected?"
            )
        if self._durability == "fsynced" and int(reply[0]) < 1:
            return LogUnavailableError(
                f"durability `fsynced`: written, but not on disk within {_WAIT_MS} ms. Is `appendfsync` still always?"
            )
        return None
