"""Sends calls again to a log that does not reply, and classifies its refusals."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from playhead.runtime.core.errors import LogUnavailableError, RedisAuthError, RedisTooOldError, UnusableServerError

__all__ = ["log_refusal", "retry_until_answered"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_FOR_GOOD: Final = (RedisAuthError, RedisTooOldError, UnusableServerError)


async def retry_until_answered(call: Callable[[], Awaitable[T]], what: str, *, begun: Awaitable[T] | None = None) -> T:
    """Send the call until the log replies; the caller bounds it with a cancel scope (its lease).

    Only for calls that may be sent twice. `begun` is the first try, if it was already made. The pauses double from
    50 ms to 1 s.
    """
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return await (call() if begun is None else begun)
        except LogUnavailableError as error:
            begun = None
            logger.warning("%s: %s; trying again in %.2f s", what, error, pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def log_refusal(what: str, error: Exception) -> None:
    """Log the refusal and continue: Redis may be unreachable, or one run's keys damaged, which must not stop others.

    Raises:
        RedisAuthError, RedisTooOldError, UnusableServerError: It does not depend on a run, and waiting does not help.
    """
    if isinstance(error, _FOR_GOOD):
        raise error
    logger.warning("%s: %s; trying again", what, str(error) or type(error).__name__)
