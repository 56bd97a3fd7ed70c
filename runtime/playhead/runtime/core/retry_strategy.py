"""`ModelRetryStrategy`, an agent's default: Strands' schedule of waits, for the failures of `faults`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Protocol, cast

from playhead.runtime.core.faults import is_transient
from playhead.runtime.core.retry import RetryPolicy, check_attempts, check_seconds, doubled

__all__ = ["NEVER", "ModelRetryStrategy", "Waits", "chosen_retry", "described", "recorded_waits"]


class Waits(Protocol):
    """How often a failed model call is made again, and after which waits: a `RetryPolicy` or a `ModelRetryStrategy`."""

    def delay(self, *, failures: int, waited: float, asked: float | None, draw: float) -> float | None:
        """See `RetryPolicy.delay`."""
        ...


@dataclass(frozen=True, slots=True)
class ModelRetryStrategy:
    """How often a model call that failed with a transient error is made again, and after which waits, as in Strands.

    The waits are `initial_delay`, twice that, four times that and so on, up to `max_delay`: 4, 8, 16, 32 and 64 seconds
    by default. If the provider says how long to wait (`Retry-After`), the wait is at least that long; if that is over
    `max_delay`, the call is not made again and the run fails with its error. Waits are not drawn at random, so runs that
    failed together call again together: `RetryPolicy` spreads them.

    Args:
        max_attempts: Calls for one message, including the first. 1 means that no call is repeated.
        initial_delay: The first wait, in seconds.
        max_delay: The limit of each wait, in seconds.

    Raises:
        ValueError: If `max_attempts` is not a whole number from 1 on, or a delay is not a number of seconds from 0 on.
    """

    max_attempts: int = 6
    initial_delay: float = 4
    max_delay: float = 240

    def __post_init__(self) -> None:
        check_attempts(self.max_attempts)
        for name in ("initial_delay", "max_delay"):
            check_seconds(name, getattr(self, name))

    def is_retryable(self, exception: Exception) -> bool:
        """Whether a call that failed with this error may be made again. A subclass may override it."""
        return is_transient(exception)

    def delay(self, *, failures: int, waited: float, asked: float | None, draw: float) -> float | None:
        """Seconds to wait before the call is made again; None if it is not made again. See `RetryPolicy.delay`."""
        del waited, draw
        wait = max(min(doubled(self.initial_delay, times=failures - 1), self.max_delay), asked or 0.0)
        return wait if failures < self.max_attempts and wait <= self.max_delay else None


NEVER: Final = ModelRetryStrategy(max_attempts=1)
"""No call is made again."""


class _OfStrands(ModelRetryStrategy):
    """Strands' own object, by its numbers. What it counts as retryable is so here too, beside the transient errors."""

    __slots__ = ("_strands",)

    def __init__(self, strands: Any) -> None:
        super().__init__(strands._max_attempts, strands._initial_delay, strands._max_delay)
        object.__setattr__(self, "_strands", strands)

    def is_retryable(self, exception: Exception) -> bool:
        return is_transient(exception) or bool(cast("Any", self)._strands.is_retryable(exception))


def chosen_retry(
    retry: object, strategy: object, *, default: ModelRetryStrategy
) -> RetryPolicy | ModelRetryStrategy | None:
    """The policy that an agent gets of its arguments `retry` and `retry_strategy`; `default` is that of both.

    Raises:
        ValueError: If both were given.
        TypeError: If the one that was given is neither a policy nor None; the message names the value.
    """
    if retry is not default and strategy is not default:
        raise ValueError(f"give retry or retry_strategy, not both: they are {retry!r} and {strategy!r}")
    name, value = ("retry", retry) if strategy is default else ("retry_strategy", strategy)
    if value is None or isinstance(value, RetryPolicy | ModelRetryStrategy):
        return value
    if all(hasattr(value, field) for field in ("_max_attempts", "_initial_delay", "_max_delay", "is_retryable")):
        return _OfStrands(value)
    raise TypeError(f"{name} must be a ModelRetryStrategy or a RetryPolicy, or None for no retries, not {value!r}")


def described(retry: RetryPolicy | ModelRetryStrategy | None) -> dict[str, Any]:
    """The fields of a policy as a definition has them, with its class if it is not a `RetryPolicy`."""
    if isinstance(retry, RetryPolicy):
        return asdict(retry)
    one = retry or NEVER
    waits = {"max_attempts": one.max_attempts, "initial_delay": one.initial_delay, "max_delay": one.max_delay}
    return {"strategy": "ModelRetryStrategy", **waits}


def recorded_waits(stored: Mapping[str, Any]) -> RetryPolicy | ModelRetryStrategy:
    """The policy of a definition, from its fields as `described` gives them, without those of a newer version."""
    kind = ModelRetryStrategy if stored.get("strategy") else RetryPolicy
    return kind(**{one.name: stored[one.name] for one in fields(kind) if one.name in stored})
