"""The workers of a memory log that wait for work, and the notifications that wake them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.lowlevel

from playhead.runtime.log.rules import Rules
from playhead.runtime.log.rules_run_states import Notifications, RunQueued, RunSignalled
from playhead.runtime.log.rules_state import first_of

__all__ = ["Waiters"]

_MAX_NOTIFICATIONS: Final = 100
"""The most notifications that are kept for a worker that does not ask; `run_states.lua` has the same number."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A worker that waits in `wait_for_work`."""

    queues: frozenset[str]
    worker: str
    woken: anyio.Event = field(default_factory=anyio.Event)

    def wakes_on(self, notification: RunQueued | RunSignalled) -> bool:
        """Whether the notification concerns this worker."""
        if isinstance(notification, RunQueued):
            return notification.queue in self.queues
        return notification.worker == self.worker


class Waiters:
    """The waits of all workers of one log; `rules` tells whether there is work."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._waiting: set[_Waiter] = set()
        self._signalled: dict[str, deque[str]] = {}  # worker -> its runs with a signal that it has not been told of

    def notify(self, notifications: Notifications) -> None:
        """Wake the workers that the notifications concern."""
        for one in notifications:
            if isinstance(one, RunSignalled):
                self._signalled.setdefault(one.worker, deque(maxlen=_MAX_NOTIFICATIONS)).append(one.run_id)
            for waiter in self._waiting:
                if waiter.wakes_on(one):
                    waiter.woken.set()

    def forget(self, worker: str) -> None:
        """Drop the notifications of a worker."""
        self._signalled.pop(worker, None)

    async def wait(self, queues: Sequence[str], *, worker: str, timeout: float, now: int) -> str | None:
        """See `Log.wait_for_work`. Returns at once if there was work or a signal before the call, at the time `now`."""
        if (
            worker in self._signalled
            or first_of((self._rules.queue, self._rules.suspects), queues, now=now) is not None
        ):
            await anyio.lowlevel.checkpoint()
        else:
            waiter = _Waiter(frozenset(queues), worker)
            self._waiting.add(waiter)
            try:
                with anyio.move_on_after(timeout):
                    await waiter.woken.wait()
            finally:
                self._waiting.discard(waiter)
        return self._take_signalled(worker)

    def _take_signalled(self, worker: str) -> str | None:
        """Take the first run with a signal that the worker still owns."""
        signalled = self._signalled.pop(worker, None)
        while signalled:
            run_id = signalled.popleft()
            if (run := self._rules.runs.get(run_id)) and run.worker == worker and run.state == "running":
                if signalled:
                    self._signalled[worker] = signalled
                return run_id
        return None
