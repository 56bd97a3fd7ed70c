"""Leases: keeps the runs that this worker holds, stops those whose lease expires, and finds dead workers' runs.

Two clocks are used and never compared. Redis' clock, in the scripts, decides when a run may be taken over. This
worker's monotonic clock decides when to stop a run here, which is earlier.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import anyio

from playhead.runtime.core.errors import PlayheadError, WriteRefusedError
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.log.interface import Log
from playhead.workers.checkpoints import Visit
from playhead.workers.leases.renewer import Renewer
from playhead.workers.leases.watchdog import Watchdog, now_s
from playhead.workers.options import WorkerOptions
from playhead.workers.resend import Outage

__all__ = ["Lease", "Leases"]

logger: logging.Logger = logging.getLogger(__name__)

_REAP_EVERY_S = 0.5
"""The time that the reaper adds to a lease before a dead worker's run continues."""


class Lease(Ownership):
    """One run's lease as this worker knows it: an ownership that also expires.

    It expires after two thirds of its time without a renewal, counted from the sending of the last successful one.

    Attributes:
        renewed_at: When its last successful renewal (at first its claim) was *sent*, by `now_s`.
        refused_at: When the last renewal was sent that the server refused together with all writes; 0 for none.
    """

    def __init__(self, run_id: str, token: str, *, sent: float, limit_s: float, watchdog: Watchdog) -> None:
        super().__init__(run_id)
        self.token = token
        self.renewed_at = sent
        self.refused_at: float = 0.0
        self._limit_s = limit_s
        self._watchdog = watchdog

    def overdue(self) -> str | None:
        """How long ago the last renewal succeeded, in words, if that is too long; else None."""
        now = now_s()
        if now - max(self.renewed_at, self.refused_at) <= self._limit_s:
            return None
        return f"no renewal succeeded for {now - self.renewed_at:.1f} s"

    def unsure(self) -> bool:
        """Whether renewals have only been refused for as long as a lease is held without one.

        A server that refuses writes gives the run to no other worker, so the run is kept. But after a failover, another
        server may have done so, and therefore nothing begins until a renewal has succeeded.
        """
        return now_s() - self.renewed_at > self._limit_s

    def explain(self) -> str:
        """Why this worker could not hold it, in words; empty if the reason lies elsewhere."""
        return self._watchdog.explain(since=self.renewed_at)


class Leases:
    """Maintains the leases of the runs that this worker holds.

    Attributes:
        reaped: The number of dead workers' runs that were queued again or failed.
    """

    def __init__(
        self,
        *,
        log: Log,
        options: WorkerOptions,
        signals_wait: Callable[[str], None],
        outage: Outage | None = None,
        visit: Visit | None = None,
    ) -> None:
        self.reaped: int = 0
        self._log = log
        self._options = options
        self._outage = outage or Outage()
        lease_s = options.lease_ms / 1000
        self._limit_s = lease_s * 2 / 3
        self._watchdog = Watchdog(every_s=lease_s / 20, stall_s=options.longest_stall_s)
        self._held: dict[str, Lease] = {}
        self._given_up: list[tuple[str, str]] = []  # (run id, token) of runs that could not be held
        self._lock = threading.Lock()  # the renewing thread reads them too
        self._renewer = Renewer(
            self._snapshot,
            log=log,
            lease_ms=options.lease_ms,
            watchdog=self._watchdog,
            signals_wait=signals_wait,
            visit=visit,
        )

    @property
    def renewals(self) -> int:
        """The number of successful renewals, each of all held runs."""
        return self._renewer.renewals

    def stall(self, *, since: float) -> str:
        """How the event loop or the process was stalled since then, in words; empty if neither was."""
        return self._watchdog.explain(since=since)

    def hold(self, run_id: str, token: str, *, sent: float) -> Lease:
        """Make and maintain the lease of a claimed run; `sent` is when the claim was sent.

        A lease of the run that is still held is lost: the run was taken from this worker, which had not noticed.
        """
        lease = Lease(run_id, token, sent=sent, limit_s=self._limit_s, watchdog=self._watchdog)
        with self._lock:
            former, self._held[run_id] = self._held.get(run_id), lease
        if former is not None:  # no renewal tells it from now on, and its execution may write nothing for long
            former.lose("this worker has claimed the run again")
        return lease

    def give_up(self, lease: Lease) -> None:
        """Stop maintaining `lease`, which could not be held, and soon tell the log that this worker is alive."""
        self.drop(lease)
        self._given_up.append((lease.run_id, lease.token))

    async def tell_given_up(self) -> None:
        """Give up the runs at the log: a run whose lease has not ended continues at once, and no crash is counted.

        Raises:
            PlayheadError: If the log does not reply; nothing is forgotten.
        """
        told = list(self._given_up)
        if told:
            await self._log.give_up(told)
            del self._given_up[: len(told)]

    def drop(self, lease: Lease) -> None:
        """Stop maintaining `lease`; if the run was lost and claimed again meanwhile, its new lease stays."""
        with self._lock:
            if self._held.get(lease.run_id) is lease:
                del self._held[lease.run_id]

    def _snapshot(self) -> list[Lease]:
        with self._lock:
            return list(self._held.values())

    async def run(self) -> None:
        """Maintain the leases until cancelled. An unreachable Redis does not end it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            tasks.start_soon(self._renewer.run)
            tasks.start_soon(self._guard)
            tasks.start_soon(self._reap)

    async def _tick(self) -> None:
        while True:
            self._watchdog.tick()
            await anyio.sleep(self._watchdog.every_s)

    async def _guard(self) -> None:
        """Stop a run after two thirds of its lease without a renewal: no other worker can have claimed it yet."""
        while True:
            await anyio.sleep(self._limit_s / 10)
            for lease in self._snapshot():
                if lease.standing in ("expired", "lost"):  # lost: marked on another thread, perhaps a tool's
                    lease.lose(lease.overdue() or "it expired")

    async def _reap(self) -> None:
        """Look for passed deadlines and for runs of dead workers, including this worker's own earlier process."""
        while True:
            try:
                await self.tell_given_up()
                reaped = await self._log.reap()
            except WriteRefusedError as error:
                self._outage.refused("reap", error)
                await self._until_renewed()
            except PlayheadError as error:
                self._outage.refused("reap", error)
            else:
                self.reaped += len(reaped)
                for run_id in reaped:
                    logger.warning("run %s: taken from an owner that is silent, or past its deadline", run_id)
            await anyio.sleep(_REAP_EVERY_S)

    async def _until_renewed(self) -> None:
        """Wait until the server accepts writes, and then until every living owner has renewed: their leases expired
        only because their renewals were refused."""
        try:
            while await self._log.refusal() is not None:  # noqa: ASYNC110 - the server gives no signal
                await anyio.sleep(_REAP_EVERY_S)
        except PlayheadError as error:
            self._outage.refused("reap", error)
        await anyio.sleep(self._limit_s / 2)
