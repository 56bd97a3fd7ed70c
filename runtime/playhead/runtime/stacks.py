"""Where a thread is: the line of code to name when it does not get on."""

from __future__ import annotations

import sys
import sysconfig
import traceback

__all__ = ["where_is"]


def where_is(thread_id: int) -> str | None:
    """The innermost line of the user's own code that the thread is in; else of any code; None if it has ended.

    What is installed, and the standard library, are not the user's code.
    """
    frame = sys._current_frames().get(thread_id)  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return None
    stack = traceback.extract_stack(frame)
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
    ours = tuple(sys.modules["playhead"].__path__)
    own = [frame for frame in stack if not frame.filename.startswith((*installed, *ours, "<"))]
    innermost = (own or stack)[-1]
    return f"{innermost.name}, {innermost.filename}, line {innermost.lineno}"
