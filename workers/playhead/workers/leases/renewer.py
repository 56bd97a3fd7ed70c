"""Renews leases from its own thread, so that code that blocks the worker's event loop does not cost a healthy run.

The thread has its own event loop and connections. It stops renewing once the worker's loop has not ticked for
`stall_s`, because the runs of a stuck worker must go to others. A log that cannot be opened again (`RedisLog.clone`),
such as the memory log, is renewed on the worker's own loop.

When to renew, with T for a third of the lease: a try is sent as soon as T has passed since the last successful one was
*sent*, and T/4 since the last one of all was sent. So after a successful try sent at 0, tries are sent at T, 5/4 T,
6/4 T and 7/4 T until one succeeds, and a run is given up at 2 T (`Lease.overdue`): only after four tries in a row
without a reply. A claim counts as a successful try of its run. The server counts its 3 T from the arrival of a try,
which is later than its sending: it gives a run to another worker T after this one has stopped it, or later.

If the server refuses a try as it refuses every write (it is full, a replica, loading), it cannot give the run to
another worker: the run is kept, see `Lease.unsure`.

A try does not wait for the reply to the one before it; each has T for its reply. While one waits on the log's
connection, the next is made on a new connection, because all calls on a connection that hangs would hang.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import anyio

from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, WriteRefusedError
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Renewal
from playhead.runtime.stacks import where_is
from playhead.workers.checkpoints import Checkpoint, Visit
from playhead.workers.leases.watchdog import Watchdog, now_s
from playhead.workers.resend import reason_of

__all__ = ["Renewable", "Renewer"]

logger: logging.Logger = logging.getLogger(__name__)

_JOIN_S = 2.0
_TRIES = 4  # in the second third of a lease, and so open at once


class Renewable(Protocol):
    """An ownership that is renewed: see `Lease`."""

    run_id: str
    token: str
    renewed_at: float
    refused_at: float
    lost: bool

    def mark_lost(self, why: str) -> None:
        """Mark it lost. May be called on any thread."""
        ...

    def lose(self, why: str) -> None:
        """Mark it lost and call its listeners. Called on the worker's thread."""
        ...


class Renewer:
    """Renews everything that `held` returns (called on any thread) in one call; the module docstring says when.

    Attributes:
        renewals: The number of successful tries.
    """

    def __init__(
        self,
        held: Callable[[], Sequence[Renewable]],
        *,
        log: Log,
        lease_ms: int,
        watchdog: Watchdog,
        signals_wait: Callable[[str], None],
        visit: Visit | None = None,
    ) -> None:
        """Make a renewer that renews nothing yet; `signals_wait` is called on the worker's thread with a run's id."""
        self.renewals: int = 0
        self._signals_wait = signals_wait
        self._held = held
        self._log = log
        self._lease_ms = lease_ms
        self._third = lease_ms / 3000
        self._clone: Callable[[], Log] | None = getattr(log, "clone", None)
        self._waiting = 0  # tries on the log's own connection that wait for their replies
        self._renewed_at = now_s()  # when the last successful try was sent
        self._watchdog = watchdog
        self._visit = visit
        self._worker_thread = 0
        self._worker_loop: asyncio.AbstractEventLoop | None = None  # None: the current one
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None
        self._stopping = False
        self._told_stuck = False
        self._told = ""  # why the last try failed, as the log has it
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Renew until cancelled.

        Raises:
            PlayheadError: If the renewing thread has ended: this worker can hold no run, and must not claim any.
        """
        clone = self._clone
        if clone is None:
            await self._renew(self._log)
            return
        self._worker_loop, self._worker_thread = asyncio.get_running_loop(), threading.get_ident()
        ended = anyio.Event()
        self._watchdog.look()  # the process may be stopped before the thread looks for the first time
        thread = threading.Thread(target=self._be_the_thread, args=(clone, ended), name="playhead leases", daemon=True)
        thread.start()
        try:
            await ended.wait()
            raise PlayheadError(f"leases can no longer be renewed, so no run can be held: {self._failure!r}")
        finally:
            self._stop()
            with anyio.move_on_after(_JOIN_S, shield=True):
                await anyio.to_thread.run_sync(thread.join, _JOIN_S, abandon_on_cancel=True)

    def _stop(self) -> None:
        self._stopping = True
        if self._thread_loop is not None and self._scope is not None:
            with suppress(RuntimeError):  # it has already ended
                self._thread_loop.call_soon_threadsafe(self._scope.cancel)

    def _be_the_thread(self, clone: Callable[[], Log], ended: anyio.Event) -> None:
        try:
            anyio.run(self._renew_in_thread, clone)
        except Exception as error:
            self._failure = error
        self._tell(lambda _: ended.set(), "")

    async def _renew_in_thread(self, clone: Callable[[], Log]) -> None:
        log: Any = clone()
        try:
            with anyio.CancelScope() as self._scope:
                self._thread_loop = asyncio.get_running_loop()
                if not self._stopping:
                    await self._look_and_renew(log)
        finally:
            with anyio.CancelScope(shield=True):
                await log.aclose()

    async def _look_and_renew(self, log: Log) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            tasks.start_soon(self._renew, log)

    async def _look(self) -> None:
        while True:
            self._watchdog.look()
            await anyio.sleep(self._watchdog.every_s)

    async def _renew(self, log: Log) -> None:
        """Send the tries, each when it is due, unless the worker is stuck."""
        sent = self._renewed_at = now_s()  # nothing was held before
        async with anyio.create_task_group() as tries:
            while True:
                due = max(self._renewed_at + self._third, sent + self._third / _TRIES)
                if (early := due - now_s()) > 0:
                    await anyio.sleep(early)  # then check again: a try may have succeeded meanwhile
                elif self._stuck():
                    await anyio.sleep(self._watchdog.every_s)
                else:
                    sent = now_s()
                    tries.start_soon(self._try, log, sent)

    def _stuck(self) -> bool:
        """Whether the worker is stuck; logs it when that begins."""
        stalled = self._watchdog.stalled_s()
        if stalled and not self._told_stuck:
            logger.error("%s", self._stall_report(stalled))
        self._told_stuck = stalled > 0
        return self._told_stuck

    async def _try(self, log: Log, sent: float) -> None:
        try:
            async with self._connection_of(log) as free:
                await self._renew_all(free, sent)
        except WriteRefusedError as error:
            for lease in self._held():
                lease.refused_at = max(lease.refused_at, sent)
            self._tell_refused(reason_of(error))
        except Exception as error:  # any error: without renewals every run of this worker is lost
            self._tell_refused(reason_of(error) if str(error) else f"no reply within {self._third:.1f} s")

    def _tell_refused(self, reason: str) -> None:
        """Log why a try failed; at DEBUG if the one before failed so, too, because a lease has several tries a second."""
        logger.log(logging.DEBUG if reason == self._told else logging.WARNING, "renew: %s; trying again", reason)
        self._told = reason

    @asynccontextmanager
    async def _connection_of(self, log: Log) -> AsyncGenerator[Log, None]:
        """`log`, or a clone with its own connection while a try on the connection of `log` waits for its reply."""
        if self._clone is None or not self._waiting:
            self._waiting += 1
            try:
                yield log
            finally:
                self._waiting -= 1
            return
        own: Any = self._clone()
        try:
            yield own
        finally:
            with anyio.CancelScope(shield=True):
                await own.aclose()

    async def _renew_all(self, log: Log, sent: float) -> None:
        leases = self._held()
        with anyio.fail_after(self._third):
            renewals = await self._ask(log, [(lease.run_id, lease.token) for lease in leases])
        if leases and all(renewal is None for renewal in renewals):
            raise PlayheadError("refused for every run, so the runs are hardly the cause")
        self.renewals += 1
        self._renewed_at, self._told = max(self._renewed_at, sent), ""
        if self._visit is not None:
            await self._visit(Checkpoint.RENEWED, "")
        for lease, renewal in zip(leases, renewals, strict=True):
            if renewal is None:
                continue
            if renewal.ours:
                lease.renewed_at = max(lease.renewed_at, sent)  # the reply to an earlier try may arrive later
                if renewal.inbox:
                    self._tell(self._signals_wait, lease.run_id)
            elif not lease.lost:
                lease.mark_lost("its lease was lost")  # at once: a starting tool checks it on its thread
                self._tell(lease.lose, "its lease was lost")

    async def _ask(self, log: Log, owned: list[tuple[str, str]]) -> list[Renewal | None]:
        """One result per run; None if the server rejects it for good, so that only a damaged run is lost."""
        try:
            return list(await log.renew(owned, lease_ms=self._lease_ms))
        except LogUnavailableError:
            raise
        except PlayheadError as error:
            if len(owned) < 2:
                logger.warning("renew: %s", error)
                return [None] * len(owned)
        half = len(owned) // 2
        return [*await self._ask(log, owned[:half]), *await self._ask(log, owned[half:])]

    def _tell(self, what: Callable[[str], None], word: str) -> None:
        """Call `what` on the worker's thread, without waiting, because that thread may be blocked."""
        if self._worker_loop is None:
            what(word)
            return
        with suppress(RuntimeError):  # the worker has ended
            self._worker_loop.call_soon_threadsafe(what, word)

    def _stall_report(self, stalled: float) -> str:
        where = where_is(self._worker_thread)
        return (
            f"the event loop has been blocked for {stalled:.1f} s{f' (it is in {where})' if where else ''}: the leases of {len(self._held())} runs "
            "are no longer renewed, so that other workers take them over"
        )
