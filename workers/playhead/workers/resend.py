"""Sends calls again to a log that does not reply, and classifies its refusals."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from playhead.runtime.core.errors import LogUnavailableError, RedisAuthError, RedisTooOldError, UnusableServerError

__all__ = ["Outage", "reason_of", "retry_until_answered"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_FOR_GOOD: Final = (RedisAuthError, RedisTooOldError, UnusableServerError)


def reason_of(error: Exception) -> str:
    """What went wrong, as a part of a line of the log: without what a person at a terminal could do about it."""
    words = error.reason if isinstance(error, LogUnavailableError) else str(error)
    return words.rstrip(".") or type(error).__name__


async def retry_until_answered(call: Callable[[], Awaitable[T]], what: str, *, begun: Awaitable[T] | None = None) -> T:
    """Send the call until the log replies. The caller limits it with a cancel scope (its lease).

    Only for calls that may be sent twice. `begun` is the first try, if it was already made. The pauses double from
    50 ms to 1 s.
    """
    pause, refused_at = _FIRST_PAUSE_S, 0.0
    while True:
        try:
            reply = await (call() if begun is None else begun)
        except LogUnavailableError as error:
            begun = None
            # One line each: a server that is away for an hour must not fill the log.
            logger.log(logging.DEBUG if refused_at else logging.WARNING, "%s: %s; trying again", what, reason_of(error))
            refused_at = refused_at or time.monotonic()
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        else:
            if refused_at:
                logger.warning("%s: Redis is back, after %.1f s", what, time.monotonic() - refused_at)
            return reply


class Outage:
    """Whether one shard answers, as the lines of a worker say it: one when it stops to, one when it is back.

    The worker goes on meanwhile: Redis may be unreachable, or one run's keys damaged, which must not stop others.
    """

    def __init__(self) -> None:
        self._last = ""
        self._began: float | None = None

    def refused(self, what: str, error: Exception) -> None:
        """The shard refused a call. The same refusal again is logged at DEBUG only.

        Raises:
            RedisAuthError, RedisTooOldError, UnusableServerError: It does not depend on a run, and waiting does not help.
        """
        if isinstance(error, _FOR_GOOD):
            raise error
        words = reason_of(error)
        logger.log(logging.DEBUG if words == self._last else logging.WARNING, "%s: %s; trying again", what, words)
        self._last = words
        if self._began is None and isinstance(error, LogUnavailableError):
            self._began = time.monotonic()

    def answered(self) -> None:
        """The shard answered a call."""
        self._last = ""
        if self._began is not None:
            logger.warning("Redis is back, after %.1f s", time.monotonic() - self._began)
            self._began = None
