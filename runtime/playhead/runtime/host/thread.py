"""Where a guest runs: on an event loop in another thread than the worker's, so one that blocks its loop blocks no worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from playhead.runtime.host.loops import TASKS, IdleLoop, shared_loop

__all__ = ["GuestThread"]


class GuestThread:
    """Runs one coroutine on another event loop, in another thread. Make it on the event loop that waits for its end.

    Args:
        name: The thread's name.
        main: Makes the coroutine.
        ended: Called there when the coroutine has ended, with what it raised.
        shared: On the loop that such guests of this process share; else on one of its own, in a thread of its own.

    Attributes:
        tasks: The tasks that code of the guest began there, and that have not ended.
    """

    def __init__(
        self,
        name: str,
        *,
        main: Callable[[], Coroutine[Any, Any, None]],
        ended: Callable[[BaseException | None], None],
        shared: bool = False,
    ) -> None:
        self._home = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._name = name
        self._main = main
        self._ended = ended
        self._shared = shared
        self._loop: IdleLoop = shared_loop() if shared else IdleLoop()
        self._task: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def alive(self) -> bool:
        """Whether the guest still runs."""
        return not self._over.is_set()

    async def ended(self) -> None:
        """Wait until the guest has ended."""
        await self._over.wait()

    def start(self) -> None:
        """Begin."""
        if self._shared:
            self._loop.call_apart(self._begin)
        else:
            # A daemon, because a guest that never returns must not keep the process when all its runs are handed over.
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def when_idle(self, act: Callable[[], bool]) -> None:
        """See `IdleLoop.when_idle`."""
        self._loop.when_idle(act)

    def call(self, act: Callable[..., object], *args: object) -> None:
        """Call `act` on the guest's loop, from any thread; nothing happens if the guest has ended."""
        self._loop.call_apart(act, *args)

    def cancel(self) -> None:
        """Cancel the guest's task, from any thread."""
        self.call(self.cancel_here)

    def cancel_here(self) -> None:
        """Cancel the guest's task, on its loop."""
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        """On a loop of its own: the runner ends the tasks that are left."""
        TASKS.set(self.tasks)
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._guarded())
        except BaseException as raised:  # of a task of the guest's, such as SystemExit: it ends the run, not the worker
            error = raised
        self._end(error)

    def _begin(self) -> None:
        TASKS.set(self.tasks)
        self._task = self._loop.create_task(self._main())
        self._task.add_done_callback(lambda task: self._loop.create_task(self._clean_up(task)))

    async def _clean_up(self, main: asyncio.Task[None]) -> None:
        """On a shared loop: end the tasks that are left."""
        left = self.tasks - {asyncio.current_task(), main}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        for task in left:
            if not task.cancelled() and task.exception() is not None:
                self._loop.call_exception_handler({"message": "unhandled exception", "exception": task.exception()})
        self._end(asyncio.CancelledError() if main.cancelled() else main.exception())

    def _end(self, error: BaseException | None) -> None:
        self._ended(error)
        with suppress(RuntimeError):  # the worker's loop is closed
            self._home.call_soon_threadsafe(self._over.set)

    async def _guarded(self) -> None:
        self._task = asyncio.current_task()
        await self._main()
