"""Which code is the user's own, and where in it a thread is: the line to name when it does not get on."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from functools import cache

__all__ = ["is_own", "where_is"]


def where_is(thread_id: int) -> str | None:
    """The innermost line of the user's own code that the thread is in; else of any code; None if it has ended."""
    frame = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return None
    stack = traceback.extract_stack(frame)
    own = [frame for frame in stack if is_own(frame.filename)]
    innermost = (own or stack)[-1]
    return f"{innermost.name}, {innermost.filename}, line {innermost.lineno}"


def is_own(file: str) -> bool:
    """Whether a file is neither of the standard library, nor installed, nor of playhead."""
    return not file.startswith(_not_own())


@cache
def _not_own() -> tuple[str, ...]:
    """Where code lies that is not the user's own: the standard library, what is installed, and playhead."""
    installed = (sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
    return ("<", *sys.modules["playhead"].__path__, *installed)
