"""The `cancel_signal` of a call: an event of the caller's, which may be set from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["check_cancel_signal", "watching"]

_EVERY_S: Final = 0.05


def check_cancel_signal(given: object) -> None:
    """Raise TypeError if it is neither a `threading.Event` nor None."""
    if given is not None and not isinstance(given, threading.Event):
        raise TypeError(
            f"cancel_signal must be a threading.Event or None, not {given!r:.40} of type {type(given).__name__}"
        )


@contextmanager
def watching(signal: threading.Event | None, cancel: Callable[[], None]) -> Generator[None, None, None]:
    """Call `cancel` on the event loop once the signal is set, within the block.

    The signal is looked at twenty times a second, because an event cannot tell an event loop that it was set.
    """
    if signal is None:
        yield
        return
    loop, timer = asyncio.get_running_loop(), None

    def look() -> None:
        nonlocal timer
        if signal.is_set():
            cancel()
        else:
            timer = loop.call_later(_EVERY_S, look)

    look()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
