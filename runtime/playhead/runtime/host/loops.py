"""Event loops in threads of their own, which tell when they have nothing to do; and the one that agents of frameworks share."""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, Final

__all__ = ["SHARED", "STUCK_S", "TASKS", "IdleLoop", "shared_loop"]

STUCK_S: Final = 1.0
"""A shared loop that has been blocked for so long gets no new runs."""

TASKS: ContextVar[set[asyncio.Task[Any]] | None] = ContextVar("playhead_guest_tasks", default=None)
"""Where the tasks go that begin in the code of a run, until they end."""


_LOOK_EVERY: Final = 8
"""A loop on which something is ready looks this seldom whether something else has arrived: a look is a system call, and another
thread may take the interpreter in it. A hundred guests that wake for one chunk each took a fifth more time without this."""


class _IdleSelector(selectors.DefaultSelector):
    """Tells when its event loop has nothing to do until something arrives or a time has passed.

    asyncio waits in `select` exactly then, and asks with a timeout of 0 while anything is ready to run.

    Attributes:
        due: What to call then, once. It returns whether it made something ready, and is then called again.
        busy_since: When the loop last came from waiting; infinite while it waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.due: deque[Callable[[], bool]] = deque()
        self.busy_since: float = math.inf
        self._busy = 0  # how often it was asked since it last looked

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.due and (timeout is None or timeout > 0):
            for _ in range(len(self.due)):
                act = self.due.popleft()
                if act():
                    self.due.append(act)
                    timeout = 0
            if self.due:
                timeout = 0
        if timeout is not None and timeout <= 0:
            self._busy += 1
            return super().select(0) if self._busy % _LOOK_EVERY == 0 else []
        self.busy_since = math.inf
        try:
            return super().select(timeout)
        finally:
            self.busy_since = time.monotonic()


class IdleLoop(asyncio.SelectorEventLoop):
    """An event loop for guests."""

    def __init__(self) -> None:
        self._idle_selector = _IdleSelector()
        super().__init__(self._idle_selector)
        self.set_task_factory(_counted_task)

    def when_idle(self, act: Callable[[], bool]) -> None:
        """Call `act` when nothing on the loop is ready to run; again if it returns that it made something ready. In any thread.

        It is called before the loop waits: a loop that already waits must be woken.
        """
        self._idle_selector.due.append(act)

    @property
    def stuck(self) -> bool:
        """Whether something has blocked it for long."""
        return time.monotonic() - self._idle_selector.busy_since > STUCK_S

    def call_apart(self, act: Callable[..., object], *args: object) -> None:
        """Call `act` on this loop, from any thread, with no context of the caller's; nothing happens if the loop is closed."""
        with suppress(RuntimeError):
            self.call_soon_threadsafe(act, *args, context=Context())


def _counted_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task[Any](coro, loop=loop, **options)
    tasks = TASKS.get()
    if tasks is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return task


_LOCK: Final = threading.Lock()
SHARED: Final[list[IdleLoop]] = []
"""The shared loops of this process. New runs get the last one."""


def shared_loop() -> IdleLoop:
    """The loop of this process for agents of frameworks, whose clients are often global: an HTTP client works on one loop only.

    It lives as long as the process. One that is blocked is left to its runs, and others get a new one.
    """
    with _LOCK:
        if not SHARED or SHARED[-1].stuck:
            SHARED.append(IdleLoop())
            threading.Thread(target=_run_forever, args=(SHARED[-1],), name="guests", daemon=True).start()
        return SHARED[-1]


def _run_forever(loop: IdleLoop) -> None:
    while True:
        with suppress(BaseException):  # of a task, such as SystemExit: it ends that task, not the loop of all others
            loop.run_forever()
