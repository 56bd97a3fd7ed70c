"""A tail: every record of one run behind a cursor, once and in order, until the terminal one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, Literal

import anyio

from playhead.client.hub import Hub, Subscription
from playhead.runtime.codec import decode_record, decode_records
from playhead.runtime.errors import (
    ForeignRecordError,
    GapError,
    LogUnavailableError,
    NoWorkerError,
    PlayheadError,
    RunNotFoundError,
)
from playhead.runtime.log import RunInfo
from playhead.runtime.log.redis import RedisLog
from playhead.runtime.records import TERMINAL_TYPES, Entry

__all__ = ["Notice", "Tail", "run_not_found"]

logger = logging.getLogger(__name__)

_PAGE: Final = 250  # a larger one saves round trips, but costs more in caches missed and garbage collected
_FIRST_LOOK_S: Final = 1.0  # soon enough to tell a person that nobody serves the agent
_LOOK_EVERY_S: Final = 5.0
_LOOKS_PER_S: Final = 200  # of all tails together: a look takes a quarter of a millisecond of the client's CPU
_CONFIRM_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tail waits for, told while it waits.

    Attributes:
        kind: `no_worker` (no live worker serves the agent), `in_line` (behind other runs, or its session's present
            one) or `unreachable` (Redis does not answer; the tail goes on when it does).
        message: For people.
    """

    kind: Literal["no_worker", "in_line", "unreachable"]
    run_id: str
    message: str


def run_not_found(run_id: str) -> RunNotFoundError:
    """The error for a run that is not (or no longer) there."""
    return RunNotFoundError(
        f"no run {run_id!r}: never submitted under this prefix, or removed when its retention ended. "
        "`playhead runs` lists those that exist."
    )


class Tail:
    """Reads one run; use `entries` once.

    Args:
        after: The `seq` of the last record seen.
        on_notice: Told what the tail waits for, each kind once until it moves again.
        wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
        reap: Called now and then while waiting, so that no tail hangs on a dead fleet.
    """

    def __init__(
        self,
        run_id: str,
        *,
        log: RedisLog,
        hub: Hub,
        after: int,
        on_notice: Callable[[Notice], None],
        wait_for_worker: float | None = None,
        reap: Callable[[], None] = lambda: None,
    ) -> None:
        self.run_id = run_id
        self._log = log
        self._hub = hub
        self._next = after + 1
        self._epoch: int | None = None
        self._read_any = False
        self._on_notice = on_notice
        self._wait_for_worker = wait_for_worker
        self._reap = reap
        self._told: str | None = None
        self._unserved_s = 0.0

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """The entries; ends after the terminal record.

        Raises:
            GapError: A record behind the cursor is missing.
            RunNotFoundError: There is no such run, or its retention ended while it was read.
            ForeignRecordError: The log holds something playhead did not write.
            NoWorkerError: Nobody serves the run's agent and `wait_for_worker` is over.
            RedisAuthError: Redis refuses the credentials.
            PlayheadError: The client was closed.
        """
        subscription = self._hub.subscribe(self._log.keys.log(self.run_id))
        try:
            with anyio.move_on_after(_CONFIRM_S):
                await subscription.confirmed.wait()
            while True:
                if subscription.behind:
                    subscription.listen()
                    more = True
                    while more:
                        page = await self._page()
                        more = len(page) == _PAGE  # a short page ends at the head; what came since is in the batches
                        for entry in page:
                            yield self._in_order(entry)
                            if entry.record.type in TERMINAL_TYPES:
                                return
                while (batch := self._live(subscription)) is not None:
                    for entry in batch:
                        yield self._in_order(entry)
                        if entry.record.type in TERMINAL_TYPES:
                            return
                if self._next == 1:  # every run has a record 1, so there is none of this name
                    raise run_not_found(self.run_id)
                if not subscription.behind and await self._wait(subscription):
                    return
        finally:
            self._hub.unsubscribe(subscription)

    def _in_order(self, entry: Entry) -> Entry:
        if entry.seq != self._next:
            raise GapError(self.run_id, expected=self._next, found=entry.seq)
        if entry.epoch != self._epoch:
            # An ownership begins with its claim. If that is not what comes next, it stands at a number we have read as
            # something else: a failover lost the end we saw, and the log has been written anew from there.
            if self._epoch is not None and entry.record.type != "run.claimed":
                raise GapError(self.run_id, expected=self._next - 1, found=entry.seq)
            self._epoch = entry.epoch
        self._next += 1
        self._read_any = True
        self._told = None
        return entry

    async def _page(self) -> list[Entry]:
        """The next entries in the stream; waits while Redis is away."""
        while True:
            if self._hub.closed:
                raise PlayheadError(f"the client was closed while run {self.run_id} was read; the run goes on")
            try:
                return await self._log.read(self.run_id, after=self._next - 1, limit=_PAGE)
            except LogUnavailableError as error:
                self._tell("unreachable", str(error))
                await anyio.sleep(0.5)

    def _live(self, subscription: Subscription) -> list[Entry] | None:
        """The next live batch, cut to what is new; None if there is none, or if one was missed."""
        if not subscription.batches:
            return None
        data = subscription.batches.popleft()
        head, _, body = data.partition(b"\n")
        try:
            first, epoch = (int(part) for part in head.split(b"-"))
        except ValueError:
            raise ForeignRecordError(
                f"channel {subscription.channel!r}: a message playhead did not publish: {data[:40]!r}"
            ) from None
        if first > self._next:  # a message was dropped on the way: the stream has it
            subscription.lag()
            return None
        return _decode(body, first=first, epoch=epoch, wanted=self._next)

    async def _wait(self, subscription: Subscription) -> bool:
        """Wait for news; in vain, look at the run itself: a tail never waits on a hope. True if no news will ever come."""
        # Who rejoins and finds nothing may have left right behind the terminal record: that is looked at soon.
        pause, late = (_FIRST_LOOK_S if self._read_any else 0.0), False
        while not await subscription.wait(pause):
            try:
                info = await self._log.info(self.run_id)
                if info is None:
                    raise run_not_found(self.run_id)
                if info.head >= self._next:
                    if not late:  # a busy link is late long before it has lost anything
                        late = True
                        continue
                    await self._must_have_next()
                    subscription.lag()
                    return False
                if info.ended:
                    if info.head == self._next - 1:
                        return True
                    raise GapError(self.run_id, expected=self._next, found=None)
                if info.state == "queued":
                    await self._explain_queue(info, waited=pause)
            except LogUnavailableError as error:
                self._tell("unreachable", str(error))
            self._reap()
            pause = min(max(_LOOK_EVERY_S, self._hub.channels / _LOOKS_PER_S), max(_FIRST_LOOK_S, 2 * pause))
        return False

    async def _must_have_next(self) -> None:
        """The run's hash speaks of a record we have not seen: if the log lacks it, it was cut off."""
        if await self._log.read(self.run_id, after=self._next - 1, limit=1):
            return
        if await self._log.info(self.run_id) is None:  # the run went in between
            raise run_not_found(self.run_id)
        raise GapError(self.run_id, expected=self._next, found=None)

    async def _explain_queue(self, info: RunInfo, *, waited: float) -> None:
        workers = await self._log.workers()
        if any(info.agent in worker.agents for worker in workers):
            self._unserved_s = 0.0
            self._tell("in_line", f"run {self.run_id} is in line: all workers are busy, or its session is.")
            return
        served = sorted({name for worker in workers for name in worker.agents})
        text = f"no live worker serves agent {info.agent!r}" + (f" (served now: {', '.join(served)})" if served else "")
        self._unserved_s += waited
        if self._wait_for_worker is not None and self._unserved_s >= self._wait_for_worker:
            raise NoWorkerError(f"{text}; run {self.run_id} stays in line. Start a worker, or cancel the run.")
        self._tell("no_worker", f"{text}; waiting. Start one: playhead worker TARGET")

    def _tell(self, kind: Literal["no_worker", "in_line", "unreachable"], message: str) -> None:
        if self._told != kind:
            self._told = kind
            self._on_notice(Notice(kind, self.run_id, message))


def _decode(body: bytes, *, first: int, epoch: int, wanted: int) -> list[Entry]:
    if first == wanted:
        try:  # most batches at light load hold one record, and one is decoded in half the time
            return [Entry(first, epoch, decode_record(body))]
        except ForeignRecordError:
            pass
    records = decode_records(body)
    return [Entry(first + i, epoch, record) for i, record in enumerate(records) if first + i >= wanted]
