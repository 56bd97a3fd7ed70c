"""One call of an in-process agent, from its first event until its stream is closed."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import anyio

__all__ = ["Turn"]


class Turn:
    """Knows whether a call's stream was abandoned: dropped before its end and not closed yet.

    `async for … break` drops an async generator without closing it. The event loop closes it in a task of its own, a
    moment later, so the next call has to wait for that.

    Attributes:
        cancel_signal: The caller's event by which it cancels the call; None if it has none.
    """

    __slots__ = ("_loop", "_over", "_stream", "cancel_signal")

    def __init__(self, cancel_signal: threading.Event | None = None) -> None:
        self.cancel_signal: threading.Event | None = cancel_signal
        self._stream: weakref.ref[AsyncGenerator[Any, None]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = anyio.Event()

    def watch(self, stream: AsyncGenerator[Any, None]) -> None:
        """Set the generator that the caller gets. Python clears weak references to it before it is finalized."""
        self._stream = weakref.ref(stream)

    def begin(self) -> None:
        """Note that the stream runs in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._over = anyio.Event()

    def end(self) -> None:
        """Note that the stream is closed."""
        self._over.set()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function on the event loop of the stream: at once if it is the current one, else soon. From any thread.

        It is not called if that loop has ended.
        """
        if self._loop is None or self._loop is _running_loop():
            function()
            return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    @property
    def is_left(self) -> bool:
        """Whether no reader holds the stream, so that this event loop closes it or a loop that has ended never will."""
        dropped = self._stream is not None and self._stream() is None
        return dropped and self._loop is not None and (self._loop is asyncio.get_running_loop() or self._is_stranded)

    @property
    def _is_stranded(self) -> bool:
        return self._loop is not None and self._loop.is_closed()

    async def closed(self) -> None:
        """Wait until an abandoned stream is closed; return at once if its event loop ended without closing it."""
        if not self._is_stranded:
            await self._over.wait()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
