"""Prints playhead's own log messages on standard error, unless the user's code configures logging."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable

__all__ = ["UtcFormatter", "UtcTime", "log_to_stderr", "yield_to_configuration"]

_OURS = "playhead"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class UtcTime(logging.Formatter):
    """Times in UTC, to the millisecond: `2026-11-27T12:01:02.345Z`."""

    converter: Callable[[float | None], time.struct_time] = time.gmtime
    default_time_format: str = "%Y-%m-%dT%H:%M:%S"
    default_msec_format: str | None = "%s.%03dZ"


class UtcFormatter(UtcTime):
    """A line for a person: `2026-11-27T12:01:02.345Z INFO playhead: …`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s playhead: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line; a control character that an error's message may have does nothing to a terminal."""
        return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().format(record))


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints while the user's code has configured no logging: a configuration replaces it, even if it comes later.

    Attributes:
        level_set: The level that `log_to_stderr` gave the logger by default; None if the user asked for one.
    """

    level_set: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if not _is_configured():
            super().emit(record)


def log_to_stderr(
    *, level: int | None = None, default: int = logging.NOTSET, formatter: logging.Formatter | None = None
) -> None:
    """Print what the logger `playhead` logs.

    It does not touch the root logger. A handler there would make `logging.basicConfig` in the agents' file do nothing,
    and print the records of the agents' own loggers as if they were playhead's. May be called again with other arguments.

    Args:
        level: The level that the user asked for; None for `default`.
        default: The level from which records are printed, until the user's code configures logging; `NOTSET` leaves the
            level as it is.
        formatter: Formats the lines; None for `playhead: …`, as the messages of a command.
    """
    ours = logging.getLogger(_OURS)
    handler = next((one for one in ours.handlers if isinstance(one, _Fallback)), None)
    if handler is None:
        handler = _Fallback(sys.stderr)
        ours.addHandler(handler)
    handler.setFormatter(formatter or logging.Formatter("playhead: %(message)s"))
    if (chosen := default if level is None else level) != logging.NOTSET:
        ours.setLevel(chosen)
    handler.level_set = default if level is None else None


def yield_to_configuration() -> None:
    """Leave the level to the user's code, if it has configured logging. Call it once the agents' file is loaded."""
    ours = logging.getLogger(_OURS)
    for handler in ours.handlers:
        if isinstance(handler, _Fallback) and handler.level_set == ours.level and _is_configured():
            ours.setLevel(logging.NOTSET)


def _is_configured() -> bool:
    own = logging.getLogger(_OURS).handlers
    return bool(logging.root.handlers) or any(not isinstance(handler, _Fallback) for handler in own)
