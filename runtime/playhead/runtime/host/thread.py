"""The thread of a guest, with an event loop of its own: a guest that blocks its loop blocks no other run."""

from __future__ import annotations

import asyncio
import logging
import selectors
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["GuestThread"]

logger: logging.Logger = logging.getLogger(__name__)


class _IdleSelector(selectors.DefaultSelector):
    """Tells when its event loop has nothing to do until something arrives or a time has passed.

    asyncio waits in `select` exactly then, and asks with a timeout of 0 while anything is ready to run.
    """

    on_idle: Callable[[], bool] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.on_idle is not None and (timeout is None or timeout > 0) and self.on_idle():
            timeout = 0
        return super().select(timeout)


class GuestThread:
    """Runs one coroutine in a thread, on an event loop of its own. Make it on the event loop that waits for its end.

    Args:
        name: The thread's name.
        main: Makes the coroutine.
        on_idle: Called on the loop when nothing on it is ready to run; returns whether it made something ready.
        ended: Called in the thread when the coroutine has ended, with what it raised.
    """

    def __init__(
        self,
        name: str,
        *,
        main: Callable[[], Coroutine[Any, Any, None]],
        on_idle: Callable[[], bool],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._home = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._main = main
        self._ended = ended
        self._selector = _IdleSelector()
        self._selector.on_idle = on_idle
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._task: asyncio.Task[None] | None = None
        # A daemon, because a guest that never returns must not keep the process when all its runs are handed over.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the guest still runs."""
        return not self._over.is_set()

    async def ended(self) -> None:
        """Wait until the guest has ended."""
        await self._over.wait()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, act: Callable[..., object], *args: object) -> None:
        """Call `act` on the guest's loop, from any thread; nothing happens if the guest has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *args)

    def cancel(self) -> None:
        """Cancel the guest's task, from any thread."""
        self.call(self.cancel_here)

    def cancel_here(self) -> None:
        """Cancel the guest's task, on its loop."""
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._guarded())
        except BaseException as raised:  # of a task of the guest's, such as SystemExit: it ends the run, not the worker
            error = raised
        self._ended(error)
        with suppress(RuntimeError):  # the worker's loop is closed
            self._home.call_soon_threadsafe(self._over.set)

    async def _guarded(self) -> None:
        self._task = asyncio.current_task()
        await self._main()
