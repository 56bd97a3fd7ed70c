"""Warns when code of the user blocks the worker's event loop: a tool that calls `time.sleep`, for one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio

from playhead.runtime.stacks import where_is
from playhead.workers.leases.watchdog import now_s

__all__ = ["BlockedLoop", "watch_for_a_blocked_loop"]

logger: logging.Logger = logging.getLogger(__name__)

_EVERY_S: Final = 0.25
_WARN_S: Final = 1.0


async def watch_for_a_blocked_loop() -> None:
    """Watch the running loop from a thread, until cancelled."""
    blocked = BlockedLoop(asyncio.get_running_loop(), thread_id=threading.get_ident())
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_S):
            blocked.look()

    threading.Thread(target=watch, name="playhead blocked loop", daemon=True).start()
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()


class BlockedLoop:
    """Sends the loop a call, and warns if it is not made within a second. `look` is called on another thread.

    One call is on its way at a time, so an idle loop wakes four times a second, and a blocked one has one call to make up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, thread_id: int, now: Callable[[], float] = now_s) -> None:
        self._loop = loop
        self._thread_id = thread_id
        self._now = now
        self._sent: float | None = None  # when the call on its way was sent
        self._looked = now()
        self._warned = False

    def look(self) -> None:
        """Look once; to be called every 250 ms."""
        late = self._now() - self._looked > 2 * _EVERY_S  # the whole process was stopped, or this thread did not run
        self._looked = self._now()
        if self._sent is None or late:
            self._send()
        elif self._looked - self._sent > _WARN_S and not self._warned:
            self._warned = True
            logger.warning(
                "the event loop has been blocked for more than %g s, so no run of this worker gets on: it is in %s. "
                "Await there, or make it a plain function, which gets a thread",
                _WARN_S,
                where_is(self._thread_id) or "unknown code",
            )

    def _send(self) -> None:
        self._sent = self._looked
        with suppress(RuntimeError):  # the worker has ended
            self._loop.call_soon_threadsafe(self._arrived)

    def _arrived(self) -> None:
        sent, self._sent = self._sent, None
        if self._warned and sent is not None:
            self._warned = False
            logger.warning("the event loop goes on after %.1f s", self._now() - sent)
