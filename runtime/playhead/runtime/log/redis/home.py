"""The event loop that connections belong to: a call from another loop is refused before it touches them."""

from __future__ import annotations

import asyncio

from playhead.runtime.core.errors import PlayheadError

__all__ = ["HomeLoop"]


class HomeLoop:
    """The event loop that an object's connections belong to: that of its first use, until the object is closed.

    Args:
        what: The object, as the error message names it.
    """

    __slots__ = ("_loop", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_closed(self) -> bool:
        """Whether that loop has ended, so that nothing of the object can run."""
        return self._loop is not None and self._loop.is_closed()

    def enter(self) -> None:
        """Note a use of the object in the running loop. Call it before each use.

        Raises:
            PlayheadError: If the object belongs to another loop. Nothing was done, so its uses there are unharmed.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self.check()

    def check(self) -> None:
        """Like `enter`, but allow a call outside of any event loop, for methods that make no call to a server."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._loop is not running:
            raise PlayheadError(
                f"{self._what} was opened in another event loop, and its connections belong to that loop. Make another "
                "one for this loop with clone(), or call this one in its own loop: asyncio.run_coroutine_threadsafe"
            )

    def leave(self) -> None:
        """Note that the object is closed: its next use may be in another loop."""
        self._loop = None
