"""An event loop whose clock jumps to the next thing that is due: no test waits, or depends on how busy the machine is.

For tests without threads: while every task waits for one, the clock would jump too.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Final

__all__ = ["JUMPING", "Clock", "JumpingLoop"]


class Clock(selectors.DefaultSelector):
    """Seconds that pass only while every task sleeps, and then at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """What is ready; if nothing is, the clock jumps to the time at which something is due."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "every task waits for ever"
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Tells the time of its `Clock`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds, by the clock."""
        return self._clock.now


JUMPING: Final = ("asyncio", {"loop_factory": JumpingLoop})
"""What the fixture `anyio_backend` returns in a module whose tests run on such a loop."""
