"""Checks a log's arguments before anything is sent or changed. Pure.

A Redis script that fails at a command keeps what it wrote before it. So every value that a command could refuse is
refused here, before the script runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

__all__ = [
    "LONGEST_MS",
    "check_agent",
    "check_agents",
    "check_count",
    "check_duration",
    "check_name",
    "check_session",
]

LONGEST_MS: Final = 100 * 366 * 24 * 3600 * 1000
"""A hundred years. Much longer periods overflow Redis' own arithmetic of expiry."""

_LONGEST_NAME: Final = 1024
_LONGEST_AGENT: Final = 128
_LONGEST_SESSION: Final = 256
_LARGEST_COUNT: Final = 2**53  # what Lua's numbers hold exactly


def check_duration(what: str, value: object) -> None:
    """Refuse a value that is not a number of milliseconds between 1 and a hundred years.

    Raises:
        ValueError: The message names `what` and the value.
    """
    _check_whole(what, value, 1, LONGEST_MS)


def check_count(what: str, value: object, *, least: int = 0) -> None:
    """Refuse a value that is not a whole number between `least` and 2**53.

    Raises:
        ValueError: The message names `what` and the value.
    """
    _check_whole(what, value, least, _LARGEST_COUNT)


def _check_whole(what: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, not {value!r}")


def check_name(what: str, value: object) -> None:
    """Refuse a value that is not a usable name: no string, empty, too long, or with a lone surrogate.

    Raises:
        ValueError: The message names `what` and the value.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or not _encodes(value):
        raise ValueError(f"{what} must be a text of 1 to {_LONGEST_NAME} characters, not {_shown(value)}")


def check_agent(value: object) -> None:
    """Refuse a value that cannot name an agent. The rule is the same for a definition, a submission and a claim.

    Raises:
        ValueError: If it is not a string of 1 to 128 letters, digits, `_`, `-` and `.`.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_AGENT or not all(map(_names_agents, value)):
        raise ValueError(
            f"{_shown(value)} cannot name an agent: use 1 to {_LONGEST_AGENT} letters, digits, '_', '-' or '.'"
        )


def check_agents(values: Iterable[object]) -> None:
    """Apply `check_agent` to each value."""
    for value in values:
        check_agent(value)


def check_session(value: object) -> None:
    """Refuse a value that cannot name a session.

    Raises:
        ValueError: If it is not a string of 1 to 256 printable characters.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_SESSION or not value.isprintable():
        raise ValueError(f"session_id must be 1 to {_LONGEST_SESSION} printable characters, not {_shown(value)}")


def _names_agents(character: str) -> bool:
    return character.isalnum() or character in "_-."


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
