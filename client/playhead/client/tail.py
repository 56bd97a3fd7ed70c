"""A tail: every record of one run behind a cursor, once and in order, until the terminal one.

Whenever it reads the stream it reads the last record it gave out once more: if another stands there, or the log will not
get it back, `RewindError` ends the tail. So a reader never has two histories in one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, Literal

import anyio

from playhead.client.hub import Hub, Subscription
from playhead.client.questions import waiting_for
from playhead.client.seen import Seen
from playhead.runtime.codec import decode_batch
from playhead.runtime.errors import (
    ForeignRecordError,
    GapError,
    LogUnavailableError,
    NoWorkerError,
    PlayheadError,
    RewindError,
    RunNotFoundError,
)
from playhead.runtime.events import Cursor
from playhead.runtime.interrupts import Interrupt
from playhead.runtime.log import RunInfo
from playhead.runtime.log.redis import RedisLog
from playhead.runtime.records import TERMINAL_TYPES, Entry, RunPaused
from playhead.runtime.segments import Segment

__all__ = ["Notice", "OnPause", "Tail", "run_not_found"]

logger = logging.getLogger(__name__)

_PAGE: Final = 250  # a larger one saves round trips, but costs more in caches missed and garbage collected
_FIRST_LOOK_S: Final = 1.0  # soon enough to tell a person that nobody serves the agent
_LOOK_EVERY_S: Final = 5.0
_LOOKS_PER_S: Final = 200  # of all tails together: a look takes a quarter of a millisecond of the client's CPU
_CONFIRM_S: Final = 1.0
_AWAY_S: Final = 0.5
_MAY_END: Final = TERMINAL_TYPES | {"run.paused"}


NoticeKind = Literal["no_worker", "in_line", "paused", "unreachable", "rewound"]

OnPause = Literal["end", "wait"]
"""What a reader does where the run waits for answers: end, or say so and wait on. A pause that is over is passed over."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tail waits for, told while it waits.

    Attributes:
        kind: `no_worker` (no live worker serves the agent), `in_line` (behind other runs, or its session's present
            one), `paused` (until its questions are answered), `unreachable` (Redis does not answer; the tail goes on
            when it does) or `rewound` (Redis lost the end of the log; the run's owner may send it again).
        message: For people.
        interrupts: Of `paused`: the questions that are open.
    """

    kind: NoticeKind
    run_id: str
    message: str
    interrupts: tuple[Interrupt, ...] = ()


def run_not_found(run_id: str) -> RunNotFoundError:
    """The error for a run that is not (or no longer) there."""
    return RunNotFoundError(
        f"no run {run_id!r}: never submitted under this prefix, or removed when its retention ended. "
        "`playhead runs` lists those that exist."
    )


class Tail:
    """Reads one run; use `entries` once.

    Args:
        after: The last entry seen, or a cursor; the whole record was seen. By a bare number it cannot be noticed that
            another record has taken that number.
        on_notice: Told what the tail waits for, each kind once until it moves again.
        wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
        on_pause: Whether to end with the `run.paused` record while the run is paused there.
        reap: Called now and then while waiting, so that no tail hangs on a dead fleet.
    """

    def __init__(
        self,
        run_id: str,
        *,
        log: RedisLog,
        hub: Hub,
        after: Cursor | Entry,
        on_notice: Callable[[Notice], None],
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        reap: Callable[[], None] = lambda: None,
    ) -> None:
        self.run_id = run_id
        self._log = log
        self._hub = hub
        self._seen = Seen(run_id, after)
        self._read_any = False
        self._on_notice = on_notice
        self._wait_for_worker = wait_for_worker
        self._on_pause = on_pause
        self._reap = reap
        self._told: set[NoticeKind] = set()
        self._doubted = -1  # the record seen last when the run's hash spoke against it
        self._unserved_s = 0.0

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """The entries; ends after the terminal record, or at a pause.

        Raises:
            GapError: A record behind the cursor is missing, or the cursor is a bare number that the log has not reached.
            RewindError: What was seen is not in the log any more.
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
                        page = await self._page(subscription)
                        more = len(page) == _PAGE  # a short page ends at the head; what came since is in the batches
                        for entry in page:
                            yield self._in_order(entry)
                            if entry.record.type in _MAY_END and await self._ends_with(entry):
                                return
                while (batch := self._live(subscription)) is not None:
                    for entry in batch:
                        yield self._in_order(entry)
                        if entry.record.type in _MAY_END and await self._ends_with(entry):
                            return
                if self._seen.seq == 0:  # every run has a record 1, so there is none of this name
                    raise run_not_found(self.run_id)
                if not subscription.behind and await self._wait(subscription):
                    return
        finally:
            self._hub.unsubscribe(subscription)

    async def settle(self) -> None:
        """Return when the record seen last stands in the log, as it was; use it instead of `entries`.

        Raises:
            Exception: As `entries`.
        """
        subscription = self._hub.subscribe(self._log.keys.log(self.run_id))
        try:
            await self._page(subscription)
        finally:
            self._hub.unsubscribe(subscription)

    def _in_order(self, entry: Entry) -> Entry:
        seen = self._seen
        if entry.seq != seen.seq + 1:
            raise GapError(self.run_id, expected=seen.seq + 1, found=entry.seq)
        if entry.epoch != seen.epoch:
            if not seen.may_precede(entry):
                raise RewindError(self.run_id, expected=seen.seq, found=entry.seq)
            seen.begin(entry)
        seen.seq, _, seen.record = entry
        self._read_any = True
        if self._told:
            self._told.clear()
        return entry

    async def _ends_with(self, entry: Entry) -> bool:
        """Whether the tail ends with this record: a terminal one, or the pause at which the run still is."""
        while isinstance(entry.record, RunPaused):
            self._refuse_if_closed()
            try:
                info = await self._log.info(self.run_id)
                if info is None:
                    raise run_not_found(self.run_id)
                if info.state != "paused" or info.head != entry.seq:
                    return False
                return await self._waits_for_answers()
            except LogUnavailableError as error:
                self._tell("unreachable", str(error))
                await anyio.sleep(_AWAY_S)
        return True

    async def _waits_for_answers(self) -> bool:
        """The run is paused at the record seen last: end, or say so and wait on."""
        if self._on_pause == "end":
            return True
        if "paused" not in self._told:
            record = self._seen.record
            if record is None:  # by a bare number
                page = await self._log.read_back(self.run_id, before=self._seen.seq + 1, limit=1)
                if not page:
                    raise GapError(self.run_id, expected=self._seen.seq, found=None)
                record = page[0].record
            asked = tuple(Interrupt(one) for one in record.interrupts) if isinstance(record, RunPaused) else ()
            self._tell("paused", waiting_for(self.run_id, asked), interrupts=asked)
        return False

    def _refuse_if_closed(self) -> None:
        if self._hub.closed:
            raise PlayheadError(f"the client was closed while run {self.run_id} was read; the run goes on")

    async def _page(self, subscription: Subscription) -> list[Entry]:
        """The next entries in the stream. Waits while Redis is away, and while the owner may send again what it lost."""
        seen, late = self._seen, False
        while True:
            self._refuse_if_closed()
            try:
                if not seen.certain:
                    return await self._log.read(self.run_id, after=seen.seq, limit=_PAGE)
                page = await self._log.read(self.run_id, after=seen.seq - 1, limit=_PAGE + 1)
                if page and seen.is_(page[0]):
                    seen.record = page[0].record
                    return page[1:]
                if page and page[0].seq != seen.seq:
                    raise GapError(self.run_id, expected=seen.seq, found=page[0].seq)
                if page:
                    raise await seen.rewound(self._log, found=seen.seq)
                late = await self._may_come_back(subscription, late=late)
            except LogUnavailableError as error:
                self._tell("unreachable", str(error))
                await anyio.sleep(_AWAY_S)

    async def _may_come_back(self, subscription: Subscription, *, late: bool) -> bool:
        """The log ends before what was seen: wait for news while its owner can send that again. True: look at once.

        Nobody but the owner that wrote it can, and only while it is the owner: so this ends with its lease.
        """
        seen = self._seen
        info = await self._log.info(self.run_id)
        if info is None:
            raise run_not_found(self.run_id)
        if info.head >= seen.seq:
            if late:
                raise GapError(self.run_id, expected=seen.seq, found=None)
            return True
        if info.state != "running" or info.epoch != seen.epoch:
            raise await seen.rewound(self._log, found=None)
        self._tell(
            "rewound",
            f"run {self.run_id}: Redis lost the log behind record {info.head}, and {seen.seq} was seen; waiting for its "
            "owner to send the rest again.",
        )
        self._reap()
        subscription.lag()
        subscription.listen()
        await subscription.wait(max(_FIRST_LOOK_S, self._hub.channels / _LOOKS_PER_S))
        return False

    def _live(self, subscription: Subscription) -> list[Entry] | None:
        """The next live batch, cut to what is new; None if there is none, or if the stream must be read instead."""
        if not subscription.batches:
            return None
        data = subscription.batches.popleft()
        head, _, body = data.partition(b"\n")
        try:
            place, _, count = head.partition(b" ")
            first, epoch, count = (int(part) for part in (*place.split(b"-"), count))
        except ValueError:
            raise ForeignRecordError(
                f"channel {subscription.channel!r}: a message playhead did not publish: {data[:40]!r}"
            ) from None
        seen = self._seen
        if first > seen.seq + 1:  # a message was dropped on the way: the stream has it
            subscription.lag()
            return None
        batch = list(Segment(first, epoch, decode_batch(body, count)).entries())
        if first <= seen.seq:
            known, batch = batch[: seen.seq + 1 - first], batch[seen.seq + 1 - first :]
            sound = self._tells_the_same(known)
        else:
            sound = not batch or seen.may_precede(batch[0])
        if not sound:  # the log is being written anew: the stream says from where
            subscription.lag()
            return None
        return batch

    def _tells_the_same(self, known: list[Entry]) -> bool:
        """Whether what was heard again, or late, is what was seen."""
        if not known:
            return True
        last, seen = known[-1], self._seen
        if last.seq == seen.seq:
            return seen.is_(last)
        return seen.epoch is None or last.epoch <= seen.epoch

    async def _wait(self, subscription: Subscription) -> bool:
        """Wait for news; in vain, look at the run itself: a tail never waits on a hope. True if no news will ever come."""
        # Who rejoins and finds nothing may have left right behind the terminal record: that is looked at soon.
        pause, late = (_FIRST_LOOK_S if self._read_any else 0.0), False
        while not await subscription.wait(pause):
            try:
                info = await self._log.info(self.run_id)
                if info is None:
                    raise run_not_found(self.run_id)
                if info.head > self._seen.seq and not late:  # a busy link is late long before it has lost anything
                    late = True
                    continue
                if await self._must_read(info):
                    subscription.lag()
                    return False
                if info.ended:
                    return True
                if info.state == "paused" and await self._waits_for_answers():
                    return True
                if info.state == "queued":
                    await self._explain_queue(info, waited=pause)
            except LogUnavailableError as error:
                self._tell("unreachable", str(error))
            self._reap()
            pause = min(max(_LOOK_EVERY_S, self._hub.channels / _LOOKS_PER_S), max(_FIRST_LOOK_S, 2 * pause))
        return False

    async def _must_read(self, info: RunInfo) -> bool:
        """Whether the run's hash speaks against what was seen, so that the stream must be read."""
        seen = self._seen
        if info.head > seen.seq:
            await self._must_have_next()
            return True
        if info.head < seen.seq:
            if not seen.certain:
                raise GapError(self.run_id, expected=seen.seq + 1, found=None)
            return True
        endless = info.ended and seen.record is not None and seen.record.type not in TERMINAL_TYPES
        if self._doubted != seen.seq:
            self._doubted = seen.seq
            # Each claim writes a record, so under another epoch another record stands there.
            return endless or seen.epoch not in (None, info.epoch)
        if endless:  # the stream has been read since, and ends with what was seen
            raise GapError(self.run_id, expected=seen.seq + 1, found=None)
        return False

    async def _must_have_next(self) -> None:
        """The run's hash speaks of a record we have not seen: if the log lacks it, it was cut off."""
        seq = self._seen.seq
        if await self._log.read(self.run_id, after=seq, limit=1):
            return
        info = await self._log.info(self.run_id)
        if info is None:  # the run went in between
            raise run_not_found(self.run_id)
        if info.head > seq:  # else Redis has just lost what nobody here had seen
            raise GapError(self.run_id, expected=seq + 1, found=None)

    async def _explain_queue(self, info: RunInfo, *, waited: float) -> None:
        workers = await self._log.workers()
        if any(info.agent in worker.agents for worker in workers):
            self._unserved_s = 0.0
            self._tell("in_line", f"run {self.run_id} is in line: {await self._before(info)}")
            return
        served = sorted({name for worker in workers for name in worker.agents})
        text = f"no live worker serves agent {info.agent!r}" + (f" (served now: {', '.join(served)})" if served else "")
        self._unserved_s += waited
        if self._wait_for_worker is not None and self._unserved_s >= self._wait_for_worker:
            raise NoWorkerError(f"{text}; run {self.run_id} stays in line. Start a worker, or cancel the run.")
        self._tell("no_worker", f"{text}; waiting. Start one: playhead worker TARGET")

    async def _before(self, info: RunInfo) -> str:
        """What a run in line is behind."""
        holder = None if info.session is None else await self._log.holder(info.session)
        if holder is None or holder == self.run_id:
            return "all workers are busy."
        first = await self._log.info(holder)
        does = f"is {first.state}" if first is not None else "has just ended"
        asks = f" and waits for an answer: playhead show {holder}" if does == "is paused" else ""
        return f"its session is with run {holder}, which {does}{asks}."

    def _tell(self, kind: NoticeKind, message: str, *, interrupts: tuple[Interrupt, ...] = ()) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._on_notice(Notice(kind, self.run_id, message, interrupts))
