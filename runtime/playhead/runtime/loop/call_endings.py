"""How a model call ended, as values; `ending` tells which of them it was. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Answered",
    "Cancelled",
    "Ending",
    "Failed",
    "Overflowed",
    "Postponed",
    "WouldNotContinue",
    "ending",
]


@dataclass(frozen=True, slots=True)
class Answered:
    """The message is complete."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancel arrived before the rest of the message."""


@dataclass(frozen=True, slots=True)
class WouldNotContinue:
    """The provider refused, before its first chunk, to continue a partial message."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Postponed:
    """The provider raised a transient error; the call is made again after `delay` seconds."""

    error: Exception
    delay: float


@dataclass(frozen=True, slots=True)
class Overflowed:
    """The provider refused the history as too long, and the agent's conversation manager may reduce it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider raised, or yielded a malformed chunk."""

    error: Exception


Ending = Answered | Cancelled | WouldNotContinue | Postponed | Overflowed | Failed
"""How a model call ended."""


def ending(
    error: Exception | None,
    *,
    cancelling: bool,
    complete: bool,
    refusable: bool,
    delay: float | None,
    reducible: bool = False,
) -> Ending:
    """Classify the end of a call.

    Args:
        error: The error that ended it; None if the stream ended, or was left for a cancel.
        cancelling: Whether a cancel is delivered. The provider may raise when its stream is broken off; that is a
            cancel too.
        complete: Whether the last chunk of the message arrived: such a message is kept in spite of a cancel.
        refusable: Whether the call continues a partial message and has yielded nothing yet.
        delay: Seconds after which the call is made again, if the error is transient and the agent's policy allows it.
        reducible: Whether the error is an overflow of the context, and the history may be reduced.
    """
    if cancelling and (error is not None or not complete):
        return Cancelled()
    if error is None:
        return Answered()
    if reducible:
        return Overflowed(error)
    if delay is not None:
        return Postponed(error, delay)
    return WouldNotContinue(error) if refusable else Failed(error)
