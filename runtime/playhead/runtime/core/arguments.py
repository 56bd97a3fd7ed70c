"""Checks constructor arguments, so that a wrong type or range is refused where the value is passed. Pure.

A wrong type is a TypeError, a value out of range a ValueError. Each names the argument, the value, and what is accepted.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "check_callable",
    "check_choice",
    "check_flag",
    "check_items",
    "check_mapping",
    "check_number",
    "check_text",
    "check_whole",
]


def _refuse_type(what: str, value: object, wanted: str) -> TypeError:
    shown = f"the class {value.__name__}" if isinstance(value, type) else reprlib.repr(value)
    return TypeError(f"{what} must be {wanted}, not {shown} of type {type(value).__name__}")


def check_text(what: str, value: object, *, optional: bool = False, empty: bool = False) -> None:
    """Refuse a value that is not a string, and a blank string unless `empty`. None is accepted if `optional`."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise _refuse_type(what, value, "a text or None" if optional else "a text")
    if not empty and not value.strip():
        raise ValueError(f"{what} must not be empty, and is {value!r}")


def check_whole(what: str, value: object, *, least: int, most: int | None = None, optional: bool = False) -> None:
    """Refuse a value that is not a whole number in the given range. None is accepted if `optional`."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refuse_type(what, value, "a whole number or None" if optional else "a whole number")
    if value < least or (most is not None and value > most):
        raise ValueError(
            f"{what} must be at least {least}{'' if most is None else f' and at most {most}'}, not {value}"
        )


def check_number(
    what: str, value: object, *, least: float = 0.0, above: float | None = None, optional: bool = False
) -> None:
    """Refuse a value that is not finite, or is below `least` or not above `above`. None is accepted if `optional`."""
    if value is None and optional:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _refuse_type(what, value, "a number or None" if optional else "a number")
    low = value <= above if above is not None else value < least
    if low or not math.isfinite(value):  # nan is not
        raise ValueError(
            f"{what} must be {f'above {above:g}' if above is not None else f'at least {least:g}'}, not {value}"
        )


def check_flag(what: str, value: object) -> None:
    """Refuse a value that is not a bool: a string such as "false" would count as true."""
    if not isinstance(value, bool):
        raise _refuse_type(what, value, "True or False")


def check_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"{what} must be {' or '.join(map(repr, choices))}, not {value!r}")


def check_callable(what: str, value: object, *, optional: bool = False) -> None:
    """Refuse a value that is not callable. None is accepted if `optional`."""
    if not callable(value) and not (value is None and optional):
        raise _refuse_type(what, value, "a function or None" if optional else "a function")


def check_mapping(what: str, value: object, *, optional: bool = False) -> None:
    """Refuse a value that is not a mapping with string keys. None is accepted if `optional`."""
    if value is None and optional:
        return
    if not isinstance(value, Mapping):
        raise _refuse_type(what, value, "a dict or None" if optional else "a dict")
    keys: Iterable[Any] = value.keys()  # pyright: ignore[reportUnknownVariableType]
    for key in keys:
        if not isinstance(key, str):
            raise _refuse_type(f"each key of {what}", key, "a text")


def check_items(what: str, value: object, kind: type | tuple[type, ...], *, each: str) -> None:
    """Refuse a value that is not a list or tuple of `kind`, one or several; `each` describes one item for the error."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise _refuse_type(what, value, f"a list, each item {each}")
    items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
    for number, item in enumerate(items):
        if not isinstance(item, kind):
            raise _refuse_type(f"{what}[{number}]", item, each)
