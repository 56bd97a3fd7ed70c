"""The limits of a run: after how many cycles or tokens it ends instead of beginning another cycle. Pure; Strands' rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, cast

__all__ = ["Limits", "check_limits", "is_limit_reason", "limit_reached", "read_limits"]


class Limits(TypedDict, total=False):
    """After what a run ends; each is a whole number above 0. They are looked at between two cycles, never within one.

    Attributes:
        turns: Cycles: a model call, with the tools that it asks for.
        total_tokens: Tokens of all its model calls, input and output.
        output_tokens: Tokens that its model calls gave.
    """

    turns: int
    total_tokens: int
    output_tokens: int


_NAMES: Final = tuple(Limits.__annotations__)  # in this order, if several are reached at once
_REASONS: Final = tuple(f"limit_{name}" for name in _NAMES)
_USAGE: Final = {"total_tokens": "totalTokens", "output_tokens": "outputTokens"}


def check_limits(given: object) -> dict[str, int]:
    """The limits that a caller passes; None is none.

    Raises:
        TypeError: As in Strands for every mistake: an unknown name, or a value that is not a whole number above 0.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"limits must be a dict of {', '.join(_NAMES)}, not {given!r:.80}")
    limits = dict(cast("Mapping[str, Any]", given))
    for name, value in limits.items():
        if name not in _NAMES:
            raise TypeError(f"limits has no {name!r}: it has {', '.join(_NAMES)}")
        if not _is_limit(value):
            raise TypeError(f"limits[{name!r}] must be a whole number above 0, not {value!r:.80}")
    return limits


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def read_limits(stored: object) -> dict[str, int]:
    """The limits in a record; what has another form was never checked, and is left out."""
    items: Any = cast("Mapping[str, Any]", stored).items() if isinstance(stored, Mapping) else ()
    return {name: value for name, value in items if name in _NAMES and _is_limit(value)}


def limit_reached(limits: Mapping[str, int], *, cycles: int, usage: Mapping[str, int]) -> str | None:
    """The stop reason of a run that has reached one of its limits; None if it may go on.

    Args:
        limits: Those of the run.
        cycles: How many it has begun.
        usage: The tokens of its model calls.
    """
    for name in _NAMES:
        used = cycles if name == "turns" else usage.get(_USAGE[name], 0)
        if name in limits and used >= limits[name]:
            return f"limit_{name}"
    return None


def is_limit_reason(stop_reason: object) -> bool:
    """Whether it is the stop reason of a run that has reached a limit."""
    return stop_reason in _REASONS
