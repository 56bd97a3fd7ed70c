"""A worker's duty for one shard, independent of the other shards: an unreachable shard stops only its own runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio

from playhead.runtime.agent.serving import Served
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import LeaseTooShortError, LogUnavailableError, NoReplicaError, PlayheadError
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.records import RunClaimed, now_ms
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Claim, WorkerInfo
from playhead.runtime.tools.children import ChildRuns
from playhead.workers.appends.group_commit import GroupCommit
from playhead.workers.asking import Asking
from playhead.workers.checkpoints import Visit
from playhead.workers.execution import Execution
from playhead.workers.leases.leases import Leases
from playhead.workers.leases.watchdog import now_s
from playhead.workers.mailbox import Mailbox
from playhead.workers.meters import append_timer
from playhead.workers.options import WorkerOptions
from playhead.workers.resend import Outage

__all__ = ["WORK_WAIT_S", "Duty"]

logger: logging.Logger = logging.getLogger(__name__)

WORK_WAIT_S: Final = 2.0
"""Every wait for a notification ends after this time with a claim, so a lost notification costs no more than that."""

_EMPTYING_MS: Final = 30_000  # then another worker may be asked
_ROUND_TRIPS: Final = 3  # tries, because the server may be busy during one
_NO_RUN: Final = "none"


class Duty:
    """The log of one shard, and everything that a worker needs to hold runs there. Run `run` in a task.

    Attributes:
        log: The shard's log.
        outage: Whether the shard answers.
        asking: When it last answered for work.
        mailbox: The signals of runs held there.
        commit: The appends of runs held there.
        leases: The leases of runs held there.
        may_claim: Set when a run may be queued there, or when the worker can hold another run.
    """

    def __init__(
        self, log: Log, *, worker: str, options: WorkerOptions, frameworks: Mapping[str, str], visit: Visit | None
    ) -> None:
        self.log = log
        self.outage: Outage = Outage()
        self.asking: Asking = Asking()
        self.mailbox: Mailbox = Mailbox(log, outage=self.outage)
        signals_wait = self.mailbox.signals_wait
        self.commit: GroupCommit = GroupCommit(log, signals_wait=signals_wait, visit=visit, timed=append_timer(worker))
        self.leases: Leases = Leases(
            log=log, options=options, signals_wait=signals_wait, outage=self.outage, visit=visit
        )
        self.may_claim: anyio.Event = anyio.Event()
        self._worker = worker
        self._options = options
        self._frameworks = frameworks
        self._visit = visit
        self._checked = False
        self._put_off = False  # because the server could not be reached
        self._pending_token: str | None = None  # the token of a claim without a reply

    async def run(self) -> None:
        """Maintain the runs held there until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.commit.run)
            tasks.start_soon(self.leases.run)
            tasks.start_soon(self.mailbox.run)

    async def check(self) -> None:
        """Check the server unless that is done. One that cannot be reached is checked before the first claim.

        Raises:
            PlayheadError: If no run can be held there; the message says why. Waiting does not help.
            LeaseTooShortError: If a round trip takes too long for the lease.
        """
        try:
            await self._check()
            await self._refuse_a_lease_too_short()
        except LogUnavailableError as error:
            self.outage.refused("check", error)
            self._put_off = True

    async def _check(self) -> None:
        if self._checked:
            return
        try:
            await self.log.check()
        except NoReplicaError as error:
            if not self._put_off:
                raise
            # A failover was why the check was put off: the new master has no replica until the former one is back.
            raise LogUnavailableError(error.reason) from error
        self._checked = True

    async def _refuse_a_lease_too_short(self) -> None:
        """Refuse a lease that is too short: a renewal may take a third of it, and one round trip at most half of that."""
        limit = self._options.lease_ms / 6000
        best = math.inf
        for _ in range(_ROUND_TRIPS):
            sent = now_s()
            await self.look()
            best = min(best, now_s() - sent)
            if best <= limit:
                return
        raise LeaseTooShortError(
            f"a lease of {self._options.lease_ms / 1000:g} s cannot be kept: a round trip to Redis takes {best:.2f} s, and "
            f"a renewal needs several in that time. Use a lease of {math.ceil(12 * best)} s or more (--lease, lease_ms), "
            "or a Redis that is nearer."
        )

    async def look(self) -> None:
        """Make a call that changes nothing. Raises PlayheadError if the shard does not reply."""
        await self.log.info(_NO_RUN)

    async def claim(
        self, definitions: Mapping[str, StoredDefinition | None], *, suspects: bool
    ) -> tuple[Claim, float] | None:
        """Claim the first queued run of the agents (name → definition), if there is one; with `suspects`, even a suspect.

        An agent that a factory makes has no definition before the claim.

        Returns:
            The claim, and the time by `now_s` at which it was sent.

        Raises:
            PlayheadError: As `check`, if the server could not be checked earlier.
        """
        await self._check()
        # Until its reply a claim is sent again with the same token: a run that it took would else be lost for a lease.
        token = self._pending_token = self._pending_token or new_token()
        sent = now_s()
        claim = await self._claim(definitions, token=token, suspects=suspects)
        self._pending_token = None
        if claim is not None:  # a claim that finds no run writes nothing: a server that refuses writes answers it
            self.outage.answered()
        return None if claim is None else (claim, sent)

    async def claim_child(self, run_id: str, agent: str, definition: StoredDefinition, *, token: str) -> Claim | None:
        """Claim one child; None if it cannot be claimed now.

        Raises:
            PlayheadError: If the shard does not reply, or refuses.
        """
        return await self._claim({agent: definition}, token=token, run_id=run_id)

    async def _claim(
        self,
        definitions: Mapping[str, StoredDefinition | None],
        *,
        token: str,
        suspects: bool = True,
        run_id: str | None = None,
    ) -> Claim | None:
        notes = {
            name: encode_record(
                RunClaimed(at=now_ms(), worker=self._worker, definition=definition.digest if definition else "")
            )
            for name, definition in definitions.items()
        }
        return await self.log.claim(
            notes,
            worker=self._worker,
            token=token,
            lease_ms=self._options.lease_ms,
            crash_limit=self._options.crash_limit,
            retentions={name: self._options.retention_without_owner(name) for name in definitions},
            definitions={name: one for name, one in definitions.items() if one is not None},
            frameworks=self._frameworks,
            suspects=suspects,
            run_id=run_id,
        )

    def execution(
        self,
        claim: Claim,
        source: Served,
        *,
        sent: float,
        children: ChildRuns,
        got_on: Callable[[], None] = lambda: None,
    ) -> Execution:
        """The execution of a run that was claimed here by a claim sent at `sent`, by `now_s`; its lease is held from now."""
        return Execution(
            claim,
            source,
            log=self.log,
            commit=self.commit,
            lease=self.leases.hold(claim.run_id, claim.token, sent=sent),
            mailbox=self.mailbox,
            worker=self._worker,
            options=self._options,
            got_on=got_on,
            visit=self._visit,
            children=children,
        )

    async def listen(self, wanted: Callable[[], Sequence[str]]) -> None:
        """Wait for notifications until cancelled: those of the queues that are wanted at the time, and always those of this worker."""
        while True:
            sent = now_s()
            try:
                signalled = await self.log.wait_for_work(wanted(), worker=self._worker, timeout=WORK_WAIT_S)
            except PlayheadError as error:
                if type(error) is LogUnavailableError and self.leases.stall(since=sent):
                    continue  # the reply may have come while nothing here could read it
                self.outage.refused("wait for work", error)
                await anyio.sleep(0.2)
                continue
            self.outage.answered()
            self.asking.heard()
            if signalled is not None:
                self.mailbox.signals_wait(signalled)
            self.may_claim.set()

    async def should_empty(self, queues: Sequence[str]) -> bool:
        """Whether this worker should hand over its runs here, because a suspect waits for a worker without any."""
        try:
            return await self.log.should_empty(queues, worker=self._worker, for_ms=_EMPTYING_MS)
        except PlayheadError as error:
            self.outage.refused("look for suspects", error)
            return False

    async def announce(self, info: Callable[[], WorkerInfo]) -> None:
        """Announce three times per lease that this worker is alive, what it serves and how busy it is."""
        while True:
            await self.announce_once(info())
            await anyio.sleep(self._options.lease_ms / 3000)

    async def announce_once(self, info: WorkerInfo) -> None:
        """Announce it now."""
        try:
            await self.log.announce(info, ttl_ms=self._options.lease_ms)
        except PlayheadError as error:
            self.outage.refused("announce", error)

    async def withdraw(self) -> None:
        """Withdraw the announcement, and report the runs that were given up."""
        try:
            await self.leases.tell_given_up()
            await self.log.withdraw(self._worker)
        except PlayheadError as error:
            logger.info("withdraw: %s", error)
