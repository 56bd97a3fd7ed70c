"""The traceback of what the user's code raised, as it is logged. Pure."""

from __future__ import annotations

import sys
from traceback import format_exception_only
from types import TracebackType
from typing import Final, cast

from playhead.runtime.core.plain import plain_text

__all__ = ["exc_info"]

_CALLERS: Final = ("playhead", "anyio")
"""The packages that call the user's code."""


def exc_info(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType] | None:
    """For `logging`: the error with its traceback from the first line of the user's code on; None if it has none."""
    folders = tuple(path for name in _CALLERS if name in sys.modules for path in sys.modules[name].__path__)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(folders):
        trace = trace.tb_next
    if trace is None:
        return None
    shown = _writable(error)
    return type(shown), shown, trace


def _writable(error: BaseException) -> BaseException:
    """The error; or one of the same name, if its text has half a character, which a file of a log does not take."""
    text = "".join(format_exception_only(error))
    if plain_text(text) == text:
        return error
    kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    return cast("BaseException", kind(plain_text(str(error))))
