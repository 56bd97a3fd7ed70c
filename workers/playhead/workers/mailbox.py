"""The mailbox: reads the signals of the held runs and delivers them, whichever reply announced them."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.interface import Log
from playhead.runtime.loop.control import Control
from playhead.workers.resend import Outage, retry_until_answered

__all__ = ["Mailbox"]


@dataclass(slots=True, eq=False)
class _Mail:
    """The waiting signals of one run; `done` is set once they are delivered, or rejected with `error`."""

    control: Control
    done: anyio.Event = field(default_factory=anyio.Event)
    error: PlayheadError | None = None


class Mailbox:
    """The inboxes of all runs that one worker holds; run it in its own task.

    Waiting signals are announced by a run's claim, by the reply to an append, a renewal or its end, or by a
    notification of the worker. Each may call `signals_wait` any number of times: a `Control` takes each signal once.
    """

    def __init__(self, log: Log, *, outage: Outage | None = None) -> None:
        self._log = log
        self._outage = outage or Outage()
        self._controls: dict[str, Control] = {}
        self._waiting: dict[str, _Mail] = {}
        self._reading: dict[str, _Mail] = {}
        self._told = anyio.Event()

    def open(self, run_id: str, control: Control) -> None:
        """Deliver the run's signals to `control` from now on."""
        self._controls[run_id] = control
        if (former := self._waiting.pop(run_id, None)) is not None:  # of an earlier execution here that lost the run
            former.done.set()

    def close(self, run_id: str, control: Control) -> None:
        """Stop delivering. If the run was lost and claimed again meanwhile, its new control stays."""
        if self._controls.get(run_id) is control:
            del self._controls[run_id]

    def signals_wait(self, run_id: str) -> None:
        """Announce that signals may wait for this run. Call it on the worker's thread; ignored for a run that is not held."""
        control = self._controls.get(run_id)
        if control is not None and run_id not in self._waiting:
            self._waiting[run_id] = _Mail(control)
            self._told.set()

    async def delivered(self, run_id: str) -> None:
        """Wait until all announced signals of this run are delivered.

        Raises:
            PlayheadError: If the log rejects the call for good.
        """
        for mail in (self._reading.get(run_id), self._waiting.get(run_id)):
            if mail is not None:
                await mail.done.wait()
                if mail.error is not None:
                    raise mail.error

    async def run(self) -> None:
        """Read and deliver until cancelled.

        Raises:
            RedisAuthError: If Redis refuses the credentials.
        """
        while True:
            await self._told.wait()
            self._told = anyio.Event()
            self._reading, self._waiting = self._waiting, {}
            async with anyio.create_task_group() as tasks:
                for run_id in list(self._reading):
                    tasks.start_soon(self._read, run_id)

    async def _read(self, run_id: str) -> None:
        mail = self._reading[run_id]
        try:
            mail.control.deliver(await retry_until_answered(lambda: self._log.inbox(run_id), "inbox"))
        except PlayheadError as error:
            mail.error = error
            self._outage.refused(f"inbox of {run_id}", error)  # its next reply or renewal announces the signals again
        finally:
            del self._reading[run_id]
            mail.done.set()
