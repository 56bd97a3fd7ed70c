"""The metadata of a run: what a caller notes of it, by which it is found again. Pure.

Each pair is also a tag, the text `key=value`, under which a log lists the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = ["MAX_ITEMS", "MAX_KEY", "MAX_VALUE", "Metadata", "checked_metadata", "checked_tag", "tags_of"]

MAX_ITEMS: Final = 16
MAX_KEY: Final = 64
MAX_VALUE: Final = 256
"""The most items of a run's metadata, and the most characters of a key and of a value: each is an entry of an index."""

_LARGEST: Final = 2**53  # what every reader of JSON holds exactly

Metadata = Mapping[str, str | int | float | bool]
"""By key, a text, a number or a bool."""


def checked_metadata(given: object) -> dict[str, str | int | float | bool]:
    """A run's metadata as it is stored.

    Raises:
        TypeError: If it is not a dict, or a value is not a text, a number or a bool.
        ValueError: If it has too many items, or a key or a value has another form or is too long.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"metadata must be a dict such as {{'customer': 'ada'}}, not a {type(given).__name__}")
    items = cast("Mapping[object, object]", given)
    if len(items) > MAX_ITEMS:
        raise ValueError(f"metadata has {len(items)} items, and a run can have {MAX_ITEMS}; nothing was stored")
    return {_checked_key(key): _checked_value(str(key), value) for key, value in items.items()}


def tags_of(metadata: Metadata) -> list[str]:
    """The tags of a run, one for each item of its metadata."""
    return [f"{key}={_text_of(value)}" for key, value in metadata.items()]


def checked_tag(given: object) -> str:
    """The tag that a filter names: `key=value`, or `key` alone for `key=true`.

    Raises:
        TypeError: If it is not a text.
        ValueError: If no run can have it.
    """
    if not isinstance(given, str):
        raise TypeError(f"a tag must be a text such as 'customer=ada', not {given!r:.80}")
    key, equals, value = given.partition("=")
    return f"{_checked_key(key)}={_checked_value(key, value if equals else 'true')}"


def _checked_key(key: object) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY or not all(map(_names_keys, key)):
        raise ValueError(
            f"a key of metadata must be 1 to {MAX_KEY} letters, digits, '_', '-' or '.', not {_shown(key)}"
        )
    return key


def _names_keys(character: str) -> bool:
    return character.isalnum() or character in "_-."


def _checked_value(key: str, value: Any) -> str | int | float | bool:
    if isinstance(value, str):
        if not value.isprintable():
            unprintable = next(character for character in value if not character.isprintable())
            raise ValueError(
                f"metadata[{key!r}] must be printable characters, and has {unprintable!r}: {_shown(value)}"
            )
        if len(value) > MAX_VALUE:
            raise ValueError(
                f"metadata[{key!r}] must be at most {MAX_VALUE} printable characters, and has {len(value)}: {_shown(value)}"
            )
        return value
    if not isinstance(value, int | float):
        raise TypeError(f"metadata[{key!r}] must be a text, a number or a bool, not {_shown(value)}")
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"metadata[{key!r}] must be a number between -2**53 and 2**53, not {_shown(value)}")
    return value


def _text_of(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
