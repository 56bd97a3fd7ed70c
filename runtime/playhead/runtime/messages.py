"""Prints playhead's own log messages on standard error, unless the user's code configures logging."""

from __future__ import annotations

import logging
import sys

__all__ = ["log_to_stderr"]


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints while the root logger has no handler: the user's configuration replaces it, even if it comes later."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


def log_to_stderr(*, quiet: bool = False) -> None:
    """Print the messages of the logger `playhead` from WARNING up; with `quiet`, from ERROR up.

    It does not touch the root logger. A handler there would make `logging.basicConfig` in the agents' file do nothing,
    and print the records of the agents' own loggers as if they were playhead's.
    """
    ours = logging.getLogger("playhead")
    if quiet:
        ours.setLevel(logging.ERROR)
    if not any(isinstance(handler, _Fallback) for handler in ours.handlers):
        handler = _Fallback(sys.stderr)
        handler.setFormatter(logging.Formatter("playhead: %(message)s"))
        ours.addHandler(handler)
