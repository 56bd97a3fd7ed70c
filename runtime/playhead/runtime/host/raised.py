"""Exceptions as a log keeps them, and as a guest catches them again after a takeover."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress

from playhead.runtime.core.errors import RecordedError
from playhead.runtime.core.failures import failure

__all__ = ["made_again", "recorded"]


def recorded(error: Exception) -> dict[str, str]:
    """An exception as plain data: its class and its message."""
    kind = type(error)
    return {"type": kind.__qualname__, "module": kind.__module__, "message": failure(error).message}


def made_again(told: Mapping[str, str]) -> Exception:
    """An exception of the recorded class with the recorded message, so that the same `except` catches it.

    Its other attributes are not kept: it is made without its class's `__init__`. A class that is not imported here, or
    that cannot be made so, gives a `RecordedError`.
    """
    name, message = told.get("type", ""), told.get("message", "")
    kind: object = sys.modules.get(told.get("module", ""))
    for part in name.split("."):
        kind = getattr(kind, part, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(Exception):  # of a class whose instances need more than a message
            error = kind.__new__(kind, message)
            error.args = (message,)
            if str(error) == message or isinstance(error, KeyError):
                return error
    error = RecordedError(f"{name}: {message}")
    error.error_type = name
    return error
