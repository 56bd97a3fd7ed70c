"""Event loops in threads of their own, which tell when they have nothing to do; and the one that agents of frameworks share."""

from __future__ import annotations

import asyncio
import logging
import math
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, Final

from playhead.runtime.stacks import where_is

__all__ = ["SHARED", "STUCK_S", "TASKS", "IdleLoop", "shared_loop"]

logger: logging.Logger = logging.getLogger(__name__)

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
        turned_at: When the loop last had a turn; infinite while it waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.due: deque[Callable[[], bool]] = deque()
        self.turned_at: float = math.inf
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
            self.turned_at = time.monotonic()
            return super().select(0) if self._busy % _LOOK_EVERY == 0 else []
        self.turned_at = math.inf
        try:
            return super().select(timeout)
        finally:
            self.turned_at = time.monotonic()


class IdleLoop(asyncio.SelectorEventLoop):
    """An event loop for guests.

    Attributes:
        thread_id: The thread of a shared one.
    """

    def __init__(self) -> None:
        self.thread_id: int = 0
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
        return time.monotonic() - self._idle_selector.turned_at > STUCK_S

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
            if SHARED:
                _tell_stuck(SHARED[-1])
            SHARED.append(IdleLoop())
            threading.Thread(target=_run_forever, args=(SHARED[-1],), name="guests", daemon=True).start()
        return SHARED[-1]


def _tell_stuck(loop: IdleLoop) -> None:
    where = where_is(loop.thread_id) or "unknown code"
    logger.warning(
        "an agent has blocked the event loop that agents share for more than %g s, in %s: new runs get another loop, and "
        "the runs of this one wait. Await instead, or serve the agent with own_loop=True",
        STUCK_S,
        where,
    )


def _run_forever(loop: IdleLoop) -> None:
    loop.thread_id = threading.get_ident()
    while True:
        with suppress(BaseException):  # of a task, such as SystemExit: it ends that task, not the loop of all others
            loop.run_forever()
