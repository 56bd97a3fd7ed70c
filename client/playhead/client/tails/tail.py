"""A tail: every record of one run after a cursor, once and in order, until the terminal one.

`TailState` decides and `Tail` acts: it reads the log, receives published batches, and waits. Each time it reads the
log, it reads the last record that it returned again. If another record has replaced it, or the log will not get it
back, the tail ends with `RewindError`. So a reader never sees a mixture of two histories.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import anyio

from playhead.client.tails.actions import (
    Action,
    AskHolder,
    AskLease,
    AskWorkers,
    End,
    Fail,
    Give,
    Listen,
    Read,
    ReadPause,
    Rest,
    Rewound,
)
from playhead.client.tails.hub import Broadcast, Subscription
from playhead.client.tails.notice import Notice, OnNotice
from playhead.client.tails.seen import ClaimSeen, stored_bytes
from playhead.client.tails.state import OnPause, TailState
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError, RewindError
from playhead.runtime.core.records import TERMINAL_TYPES, Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import LeaseInfo

__all__ = ["Tail"]

_CONFIRM_S: Final = 1.0


async def _accepts() -> str | None:
    """The `refusal` of a log that accepts all writes, or that a tail cannot ask."""
    return None


class Tail:
    """Reads one run: enter it with `async with`, and call `next` until it returns None.

    Args:
        log: The log with the run's records.
        hub: The source of published batches.
        channel: The channel on which the run's records are published.
        after: The last entry seen, or a cursor; the whole record was seen. With a bare number a replaced record cannot
            be noticed.
        on_notice: Called with a notice of what the tail waits for, once per kind until it has new records.
        wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
        on_pause: Whether to end with the `run.paused` record if the run is still paused there.
        reap: Called with the run from time to time while waiting, so that no tail hangs if the whole fleet is dead.
        refusal: Returns why the server accepts no writes; None if it does; empty if it has only just begun to again.
    """

    __slots__ = ("_channel", "_hub", "_log", "_on_notice", "_reap", "_refusal", "_state", "_subscription", "run_id")

    _subscription: Subscription

    def __init__(
        self,
        run_id: str,
        *,
        log: LogReader,
        hub: Broadcast,
        channel: str,
        after: Cursor | Entry,
        on_notice: OnNotice,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        reap: Callable[[str], None] = lambda run_id: None,
        refusal: Callable[[], Awaitable[str | None]] = _accepts,
    ) -> None:
        self.run_id: str = run_id
        self._log = log
        self._hub = hub
        self._channel = channel
        self._on_notice = on_notice
        self._reap = reap
        self._refusal = refusal
        self._state = TailState(
            run_id, after, on_pause=on_pause, wait_for_worker=wait_for_worker, channels=hub.channels
        )

    async def __aenter__(self) -> Self:
        self._subscription = self._hub.subscribe(self._channel)
        try:
            with anyio.move_on_after(_CONFIRM_S):
                await self._subscription.confirmed.wait()
        except BaseException:
            self._hub.unsubscribe(self._subscription)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.unsubscribe(self._subscription)

    async def next(self) -> list[Segment] | None:
        """Wait for the next records and return them; None after the terminal one, or at a pause.

        When this is called again, the records returned before count as seen.

        Raises:
            GapError: If a record after the cursor is missing, or the cursor is a bare number that the log has not reached.
            RewindError: If the log does not have records that were seen.
            RunNotFoundError: If the run does not exist, or its retention ended while it was read.
            ForeignRecordError: If the log holds an entry that playhead did not write.
            NoWorkerError: If no worker serves the run's agent and `wait_for_worker` has passed.
            RedisAuthError: If Redis refuses the credentials.
            PlayheadError: If the client has been closed.
        """
        action = self._state.ask()
        while True:
            if isinstance(action, Listen):
                action = await self._listen(action)
            elif isinstance(action, Give):
                return action.segments
            elif isinstance(action, End):
                return None
            else:
                action = await self._perform(action)

    async def settle(self) -> None:
        """Wait until the last record seen is in the log unchanged. Use it instead of `next`.

        Raises:
            Exception: As `next`.
        """
        action = self._state.ask()
        while not (self._state.settled or isinstance(action, Give)):
            action = await (self._listen(action) if isinstance(action, Listen) else self._perform(action))

    async def _listen(self, action: Listen) -> Action:
        self._tell(action.notice)
        if action.reap:
            self._reap(self.run_id)
        if not await self._subscription.wait(action.seconds):
            return self._state.on_silence(self._hub.channels)
        return (
            self._state.on_missed() if self._subscription.missed else self._state.on_batches(self._subscription.take())
        )

    async def _perform(self, action: Action) -> Action:
        """Perform the action that the state requests, and report its outcome."""
        state, log, run_id = self._state, self._log, self.run_id
        if self._hub.closed:
            raise PlayheadError(f"the client was closed while run {run_id} was read; the run goes on")
        try:
            match action:
                case Read(after, limit):
                    self._subscription.listen()  # before it reads, so that no batch is lost in between
                    return state.on_page(await log.read_segments(run_id, after=after, limit=limit))
                case ReadPause(seq):
                    return state.on_pause_record(await log.read_segments(run_id, after=seq - 1, limit=1))
                case AskWorkers():
                    return state.on_workers(await log.workers())
                case AskHolder(session):
                    holder = await log.holder(session)
                    return state.on_holder(holder, None if holder is None else await log.info(holder))
                case AskLease():
                    return state.on_lease(await self._lease())
                case Rest(seconds, notice):
                    self._tell(notice)
                    await anyio.sleep(seconds)
                    return state.ask()
                case Rewound():
                    raise await self._rewind(action)
                case Fail(error):
                    raise error
                case _:  # Look
                    info = await log.info(run_id)
                    return state.on_info(info, None if info is None or info.ended else await self._refusal())
        except LogUnavailableError as error:
            return state.on_unreachable(error.reason)

    async def _lease(self) -> LeaseInfo | None:
        with suppress(RedisAuthError):  # a reader without the right to see leases gets no notice of them
            return await self._log.lease(self.run_id)
        return None

    def _tell(self, notice: Notice | None) -> None:
        if notice is not None:
            self._on_notice(notice)

    async def _rewind(self, action: Rewound) -> RewindError:
        """Make the error, with the last record that the records seen and the current log certainly share."""
        common = 0
        with suppress(PlayheadError):  # the common record is optional: a failed look-up must not replace the error
            for claim in reversed(action.claims):
                found = await self._log.read_segments(self.run_id, after=claim.seq - 1, limit=1)
                if [ClaimSeen(one.first, one.epoch, stored_bytes(one.values[0])) for one in found] == [claim]:
                    common = await self._end_of(claim, action.expected)
                    break
        return RewindError(self.run_id, expected=action.expected, found=action.found, common=common)

    async def _end_of(self, claim: ClaimSeen, seen: int) -> int:
        """The last record seen that the owner of `claim` wrote: one owner never writes two records with one number."""
        at = claim.seq
        while page := await self._log.read(self.run_id, after=at):
            for seq, epoch, record in page:
                # Other processes write an end, and the cancel that caused it, with the epoch of the last owner.
                ends = record.type in TERMINAL_TYPES or record.type == "signal.received"
                if epoch != claim.epoch or ends or seq >= seen:
                    return at
                at = seq
        return at
