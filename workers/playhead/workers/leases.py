"""Leases: renewing those of this worker's runs, letting go of runs whose lease cannot be held, finding dead workers'.

Deadlines are by two clocks that are never compared: Redis' in the scripts decides when a run may be taken over; ours,
monotonic, decides when to stop by ourselves, earlier.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from playhead.runtime.errors import PlayheadError, RedisAuthError
from playhead.runtime.log import Log, crash_failure
from playhead.workers.execution import Execution
from playhead.workers.options import WorkerOptions

__all__ = ["Held", "Leases", "log_refusal"]

logger = logging.getLogger(__name__)

_REAP_EVERY_S = 0.5
"""How much the look-out adds to a lease before a dead worker's run goes on."""


@dataclass(slots=True)
class Held:
    """A run this worker holds. `renewed_at` is when its last successful renewal was *sent*, by the monotonic clock."""

    execution: Execution
    renewed_at: float


class Leases:
    """Looks after the leases of the runs in `held` (run id → `Held`); the worker adds and removes them.

    Attributes:
        reaped: Runs of dead workers put back in line, or failed.
    """

    def __init__(
        self, held: dict[str, Held], *, log: Log, options: WorkerOptions, on_signals: Callable[[str], None]
    ) -> None:
        self.reaped = 0
        self._held = held
        self._log = log
        self._options = options
        self._on_signals = on_signals

    async def run(self) -> None:
        """Look after them for ever; ends by cancellation. Redis going away does not end it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew)
            tasks.start_soon(self._guard)
            tasks.start_soon(self._reap)

    async def _renew(self) -> None:
        """Renew every third of the lease; errors are retried sooner, and never end this task."""
        third = self._options.lease_ms / 3000
        pause = third
        while True:
            await anyio.sleep(pause)
            sent = time.monotonic()
            executions = [held.execution for held in self._held.values()]
            owned = [(execution.claim.run_id, execution.claim.token) for execution in executions]
            try:
                with anyio.fail_after(third):
                    renewals = await self._log.renew(owned, lease_ms=self._options.lease_ms)
            except (PlayheadError, TimeoutError) as error:
                log_refusal("renew", error)
                pause = third / 4
                continue
            pause = third
            for execution, renewal in zip(executions, renewals, strict=True):
                self._take(execution, ours=renewal.ours, inbox=renewal.inbox, sent=sent)

    def _take(self, execution: Execution, *, ours: bool, inbox: int, sent: float) -> None:
        held = self._held.get(execution.claim.run_id)
        if held is None or held.execution is not execution:
            return
        if not ours:
            _lose(execution, "its lease was lost")
            return
        held.renewed_at = sent
        if inbox:
            self._on_signals(execution.claim.run_id)

    async def _guard(self) -> None:
        """Stop a run at two thirds of its lease without a renewal: nobody else can have claimed it yet."""
        limit = self._options.lease_ms / 1000 * 2 / 3
        while True:
            await anyio.sleep(limit / 10)
            now = time.monotonic()
            for held in list(self._held.values()):
                if now - held.renewed_at > limit:
                    _lose(held.execution, f"no renewal went through for {limit:.1f} s")

    async def _reap(self) -> None:
        """Look for runs of dead workers, this worker's own former self included."""
        options = self._options
        while True:
            try:
                reaped = await self._log.reap(
                    failure=crash_failure(options.crash_limit),
                    crash_limit=options.crash_limit,
                    retention_ms=options.retention_ms,
                )
            except PlayheadError as error:
                log_refusal("reap", error)
            else:
                self.reaped += len(reaped)
                for run_id in reaped:
                    logger.warning("run %s: its worker stopped renewing; put back in line", run_id)
            await anyio.sleep(_REAP_EVERY_S)


def _lose(execution: Execution, why: str) -> None:
    if execution.outcome is None:
        execution.writer.fence(why)
        execution.scope.cancel()


def log_refusal(what: str, error: Exception) -> None:
    """Log it and go on: Redis may be away, or one run's keys be damaged, which must not end the worker of all others.

    Raises:
        RedisAuthError: Credentials are no run's fault and no wait cures them.
    """
    if isinstance(error, RedisAuthError):
        raise error
    logger.warning("%s: %s; trying again", what, error or type(error).__name__)
