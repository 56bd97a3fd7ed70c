"""The retry policy for failed model calls, and its schedule. Pure; `faults` decides which errors count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["RetryPolicy", "check_attempts", "check_seconds", "doubled", "rest_of_wait"]

_MOST_DOUBLINGS: Final = 60  # far beyond any longest wait; more could overflow a float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a model call that failed with a transient error is made again, and after which waits.

    The first wait is drawn between 0 and `initial_delay`, and the limit doubles for each later one, up to `max_delay`,
    so that runs that failed together do not call again together. If the provider says how long to wait
    (`Retry-After`), the wait is at least that long. If the provider asks for more than `max_delay`, or if the waits
    together would be longer than `max_total_delay`, the call is not made again and the run fails with its error.

    Args:
        max_attempts: Calls for one message, including the first. 1 means that no call is repeated.
        initial_delay: The limit of the first wait, in seconds.
        max_delay: The limit of each wait, in seconds.
        max_total_delay: The limit of all waits for one message together, in seconds.

    Raises:
        ValueError: If `max_attempts` is not a whole number from 1 on, or a delay is not a number of seconds from 0 on.
    """

    max_attempts: int = 5
    initial_delay: float = 0.5
    max_delay: float = 60.0
    max_total_delay: float = 300.0

    def __post_init__(self) -> None:
        check_attempts(self.max_attempts)
        for name in ("initial_delay", "max_delay", "max_total_delay"):
            check_seconds(name, getattr(self, name))

    def delay(self, *, failures: int, waited: float, asked: float | None, draw: float) -> float | None:
        """Seconds to wait before the call is made again; None if it is not made again.

        Args:
            failures: Calls for this message that failed, with the one that failed now.
            waited: Seconds of all waits for this message so far.
            asked: Seconds that the provider asked to wait, if it did.
            draw: A random number from 0 to 1. The caller stores the delay, so that no other process draws again.
        """
        longest = min(doubled(self.initial_delay, times=failures - 1), self.max_delay)
        delay = round(max(draw * longest, asked or 0.0), 3)
        longest = min(self.max_delay, self.max_total_delay - waited)
        return delay if failures < self.max_attempts and delay <= longest else None


def doubled(delay: float, *, times: int) -> float:
    """A delay in seconds, doubled so many times."""
    return delay * 2 ** min(times, _MOST_DOUBLINGS)


def rest_of_wait(delay: float, *, since: int, now: int) -> float:
    """Seconds that remain of a wait of `delay` seconds that began at `since`, in unix milliseconds as `now`.

    The two times may be of two machines. So the result is limited: with a wrong clock the wait ends at once, or lasts
    `delay` again, but never longer.
    """
    return min(delay, max(0.0, delay - (now - since) / 1000))


def check_attempts(value: object) -> None:
    """Refuse what is not a number of attempts. Raises ValueError; the message names the value."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"max_attempts must be a whole number from 1 on, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a number of seconds from 0 on. Raises ValueError; the message names the value."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {value!r}")
