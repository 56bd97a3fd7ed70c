"""Decides what a tail does next. Pure: `Tail` performs the requested action and reports its outcome to the state.

Each phase requests one action, and its outcome leads to the next phase:

| phase       | action    | what follows from the outcome |
|-------------|-----------|------------------------------|
| READING     | Read      | new records: return them, and read on after a full page; none: LISTENING, or ENDED or PAUSED if the last record seen says so; the last record was replaced: `RewindError`; it is missing: SHORT |
| SHORT       | Look      | the log ends before what was seen. Its head is back: RECHECKING; the owner may send the rest again: LOST; else `RewindError` |
| RECHECKING  | Read      | as READING; but the last record is missing: SHORT_AGAIN |
| SHORT_AGAIN | Look      | as SHORT; but its head is back: the log was cut, `GapError` |
| LOST        | Listen    | any batch, or none: READING |
| LISTENING   | Listen    | batches: return what is new; a hole, another history, what is not a batch, or a missed batch: READING; silence: LOOKING |
| LOOKING     | Look      | the run has records that were not received: OVERDUE; fewer than were seen: ABOVE; it contradicts the last record: CHECKING; it has ended: ENDED; it is paused: as PAUSED; the server refuses writes: send a notice, LISTENING; it is queued: QUEUED; else HELD |
| ABOVE       | Read      | as READING; but the last record is there, and nothing new: ABOVE_AGAIN |
| ABOVE_AGAIN | Look      | the run still has fewer records than its log, whose last ones playhead did not write: `ForeignRecordError`; else LISTENING |
| OVERDUE     | Listen    | as LISTENING, because a busy connection is late long before it has lost anything; but silence: MISSING |
| MISSING     | Read      | as READING; but none: CUT |
| CUT         | Look      | the run still has records that the log lacks: `GapError`; else LISTENING |
| CHECKING    | Read      | as READING; but none, and the run has ended: `GapError`, because the last record seen is not terminal; else on as LOOKING |
| QUEUED      | AskWorkers| none serves the agent: send a notice, LISTENING, or `NoWorkerError` in the end; else BLOCKED |
| BLOCKED     | AskHolder | send a notice of what the run waits for, LISTENING |
| HELD        | AskLease  | the owner does not renew its lease: send a notice; LISTENING until it would be overdue |
| PAUSED      | Look      | it is paused there: ENDED, or ASKING; there is more: MISSING; else LISTENING |
| ASKING      | ReadPause | send a notice of its questions, LISTENING |
| ENDED       | End       | |
| FAILED      | Fail      | |

In every phase a missing run is `RunNotFoundError`. While Redis is unreachable the tail sends a notice and asks again:
at once if it needs the outcome, else at the next look.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Literal, get_args

from playhead.client.questions import waiting_for
from playhead.client.tails.actions import (
    Action,
    AskHolder,
    AskLease,
    AskWorkers,
    End,
    Fail,
    Give,
    Listen,
    Look,
    Read,
    ReadPause,
    Rest,
    Rewound,
)
from playhead.client.tails.notice import Notice, NoticeKind, no_worker, queued, refused, rewound, run_not_found, silent
from playhead.client.tails.seen import Seen
from playhead.runtime.core.arguments import check_choice, check_number
from playhead.runtime.core.codec import decode_batch
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import ForeignRecordError, GapError, NoWorkerError, PlayheadError, RewindError
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import TERMINAL_TYPES, Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.values import LeaseInfo, RunInfo, WorkerInfo

__all__ = ["PAGE", "OnPause", "TailState"]

OnPause = Literal["end", "wait"]
"""What a reader does while the run waits for responses: end, or send a notice and wait. A past pause is ignored."""

PAGE: Final = 250
"""Records in a page: a larger one saves round trips, but costs more cache misses and garbage collection."""

_FIRST_LOOK_S: Final = 1.0  # soon enough to tell a person that no worker serves the agent
_LOOK_EVERY_S: Final = 5.0
_SOONEST_LOOK_S: Final = 0.5  # after a look that found nothing, whatever the lease says
_LOOKS_PER_S: Final = 200  # of all tails together, because a look takes a quarter of a millisecond of the client's CPU
_AWAY_S: Final = 0.5
_PAUSED: Final = "run.paused"


class _Phase(Enum):
    READING = auto()
    SHORT = auto()
    RECHECKING = auto()
    SHORT_AGAIN = auto()
    LOST = auto()
    LISTENING = auto()
    LOOKING = auto()
    ABOVE = auto()
    ABOVE_AGAIN = auto()
    OVERDUE = auto()
    MISSING = auto()
    CUT = auto()
    CHECKING = auto()
    QUEUED = auto()
    BLOCKED = auto()
    HELD = auto()
    PAUSED = auto()
    ASKING = auto()
    ENDED = auto()
    FAILED = auto()


_READS: Final = frozenset({_Phase.READING, _Phase.RECHECKING, _Phase.MISSING, _Phase.CHECKING, _Phase.ABOVE})
_LOOKS: Final = frozenset(
    {_Phase.SHORT, _Phase.SHORT_AGAIN, _Phase.LOOKING, _Phase.CUT, _Phase.PAUSED, _Phase.ABOVE_AGAIN}
)
_CURIOUS: Final = frozenset({_Phase.LOOKING, _Phase.QUEUED, _Phase.BLOCKED, _Phase.HELD})  # their look-ups can wait
_UNSURE: Final = frozenset(
    {_Phase.READING, _Phase.SHORT, _Phase.RECHECKING, _Phase.SHORT_AGAIN, _Phase.LOST, _Phase.FAILED}
)


class TailState:
    """The state of one tail.

    Args:
        after: The last entry seen, or a cursor; the whole record was seen.
        on_pause: Whether to end with the `run.paused` record while the run is paused there.
        wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
        channels: Runs that are watched by the client: all their tails share the looks.
    """

    __slots__ = (
        "_error",
        "_info",
        "_listen_s",
        "_on_pause",
        "_phase",
        "_refusal",
        "_seen",
        "_share_s",
        "_told",
        "_unserved_s",
        "_wait_for_worker",
        "_waited_s",
        "run_id",
    )

    def __init__(
        self,
        run_id: str,
        after: Cursor | Entry,
        *,
        on_pause: OnPause = "wait",
        wait_for_worker: float | None = None,
        channels: int = 1,
    ) -> None:
        check_choice("on_pause", on_pause, get_args(OnPause))
        check_number("wait_for_worker", wait_for_worker, optional=True)
        self.run_id: str = run_id
        self._seen = Seen(after)
        self._phase = _Phase.READING
        self._on_pause = on_pause
        self._wait_for_worker = wait_for_worker
        self._told: tuple[NoticeKind, ...] = ()  # since its last new record
        self._share_s = channels / _LOOKS_PER_S
        # A reader that rejoins without new records may have left right after the terminal one, so it looks soon.
        self._listen_s = 0.0  # how long it listens before it looks at the run
        self._waited_s = 0.0  # how long it listened before it looked last
        self._unserved_s = 0.0
        self._info: RunInfo | None = None  # the last look, while more is looked up
        self._refusal: str | None = None  # why the server accepted no writes at the last look
        self._error: PlayheadError | None = None

    @property
    def settled(self) -> bool:
        """Whether the last record seen is in the log unchanged; False until it was read, and if it is not."""
        return self._phase not in _UNSURE

    def ask(self) -> Action:
        """The next action: at the beginning, when the reader needs more, and after a rest or an interrupted wait."""
        phase, seen = self._phase, self._seen
        if phase is _Phase.LISTENING:
            return Listen(self._listen_s)
        if phase in _READS:
            return Read(seen.seq - 1, PAGE + 1) if seen.certain else Read(seen.seq, PAGE)
        if phase in _LOOKS:
            return Look()
        if phase is _Phase.OVERDUE:
            return Listen(self._waited_s)
        if phase is _Phase.ASKING:
            return ReadPause(seen.seq)
        if phase in (_Phase.QUEUED, _Phase.BLOCKED):
            return AskWorkers()
        if phase is _Phase.HELD:
            return AskLease()
        if phase is _Phase.LOST:
            return Listen(max(_FIRST_LOOK_S, self._share_s), reap=True)
        if phase is _Phase.FAILED and self._error is not None:
            return Fail(self._error)
        return End()

    def _to(self, phase: _Phase) -> Action:
        self._phase = phase
        return self.ask()

    def _fail(self, error: PlayheadError) -> Action:
        self._error = error
        return self._to(_Phase.FAILED)

    def _gap(self, expected: int, found: int | None = None) -> Action:
        return self._fail(GapError(self.run_id, expected=expected, found=found))

    def _rewound(self, found: int | None) -> Action:
        seen, self._phase = self._seen, _Phase.FAILED
        return Rewound(seen.seq, found, seen.claims)

    def _tell(self, kind: NoticeKind, message: str, *, interrupts: tuple[Interrupt, ...] = ()) -> Notice | None:
        if kind in self._told:
            return None
        self._told += (kind,)
        return Notice(kind, self.run_id, message, interrupts)

    def _listen(self, notice: Notice | None = None, *, reap: bool = True) -> Action:
        self._phase, self._info = _Phase.LISTENING, None
        return Listen(self._listen_s, notice, reap)

    # ------------------------------------------------------------------ the log

    def on_page(self, page: list[Segment]) -> Action:
        """A page of the log, from the requested number on."""
        seen = self._seen
        if seen.certain:
            if not page:
                return self._to(_Phase.SHORT_AGAIN if self._phase is _Phase.RECHECKING else _Phase.SHORT)
            first, epoch, values = page[0]
            if first != seen.seq:
                return self._gap(seen.seq, first)
            if not seen.is_(first, epoch, values[0]):
                return self._rewound(first)
            seen.learn(values[0])
            page = [Segment(first + 1, epoch, values[1:]), *page[1:]] if len(values) > 1 else page[1:]
        return self._new(page) if page else self._nothing_new()

    def _new(self, page: list[Segment]) -> Action:
        """Return the records after what was seen, as far as they follow it."""
        seen = self._seen
        # A short page ends at the head; later records are in the batches.
        then = _Phase.READING if page[-1].last - seen.seq >= PAGE else _Phase.LISTENING
        for index, segment in enumerate(page):
            if segment.first != seen.seq + 1:
                self._error = GapError(self.run_id, expected=seen.seq + 1, found=segment.first)
            elif not seen.may_precede(segment):
                self._error = RewindError(self.run_id, expected=seen.seq, found=segment.first)
            else:
                seen.take(segment)
                continue
            return self._give(page[:index], _Phase.FAILED)
        return self._give(page, then)

    def _give(self, new: list[Segment], then: _Phase) -> Action:
        if not new:
            return self._to(then)
        self._phase = self._after_last(then)
        self._listen_s, self._told, self._info = _FIRST_LOOK_S, (), None
        return Give(new)

    def _after_last(self, otherwise: _Phase) -> _Phase:
        """An owner writes nothing after an end or a pause."""
        if self._seen.type in TERMINAL_TYPES:
            return _Phase.ENDED
        return _Phase.PAUSED if self._seen.type == _PAUSED else otherwise

    def _nothing_new(self) -> Action:
        """The log ends with what was seen."""
        seen, info = self._seen, self._info
        if seen.seq == 0:  # every run has a record 1, so this run does not exist
            return self._fail(run_not_found(self.run_id))
        if self._phase is _Phase.MISSING:
            return self._to(_Phase.CUT)
        if self._phase is _Phase.ABOVE:
            return self._to(_Phase.ABOVE_AGAIN)
        if self._phase is _Phase.CHECKING and info is not None:
            return self._gap(seen.seq + 1) if self._endless(info) else self._wait_with(info)
        return self._to(self._after_last(_Phase.LISTENING))

    # ------------------------------------------------------------------ what is published

    def on_batches(self, batches: Sequence[bytes]) -> Action:
        """Batches published for the run, in the order in which they arrived."""
        if self._phase is _Phase.LOST:
            return self._to(_Phase.READING)
        new: list[Segment] = []
        for data in batches:
            try:
                segment = self._heard(data)
            except ForeignRecordError:  # the log tells what is true: any program can publish on a channel
                return self._give(new, _Phase.READING)
            if segment is None:
                return self._give(new, _Phase.READING)
            if segment.values:
                self._seen.take(segment)
                new.append(segment)
        return self._give(new, _Phase.LISTENING)

    def _heard(self, data: bytes) -> Segment | None:
        """The new part of a batch, perhaps empty; None if the log must be read, because only it tells what follows."""
        seen = self._seen
        first, epoch, count, body = _head(data)
        if first > seen.seq + 1:  # a message was dropped on the way
            return None
        batch = Segment(first, epoch, decode_batch(body, count))
        if first == seen.seq + 1:
            return batch if seen.may_precede(batch) else None
        known = seen.seq + 1 - first
        if not seen.agrees_with(Segment(first, epoch, batch.values[:known])):  # the log is being rewritten
            return None
        return Segment(seen.seq + 1, epoch, batch.values[known:])

    def on_missed(self) -> Action:
        """A published batch may have been missed."""
        return self._to(_Phase.READING)

    def on_silence(self, channels: int) -> Action:
        """No batch arrived; `channels` runs are watched."""
        self._share_s = channels / _LOOKS_PER_S
        if self._phase is _Phase.OVERDUE:
            return self._to(_Phase.MISSING)
        if self._phase is _Phase.LOST:
            return self._to(_Phase.READING)
        self._waited_s = self._listen_s
        self._listen_s = min(max(_LOOK_EVERY_S, self._share_s), max(_FIRST_LOOK_S, 2 * self._listen_s))
        return self._to(_Phase.LOOKING)

    # ------------------------------------------------------------------ the run

    def on_info(self, info: RunInfo | None, refusal: str | None = None) -> Action:
        """The state of the run, None if it does not exist; and why the server accepts no writes, None if it does."""
        seen, self._refusal = self._seen, refusal
        if info is None:
            return self._fail(run_not_found(self.run_id))
        match self._phase:
            case _Phase.SHORT | _Phase.SHORT_AGAIN:
                return self._short(info)
            case _Phase.ABOVE_AGAIN:
                return self._above(info)
            case _Phase.CUT:
                return self._gap(seen.seq + 1) if info.head > seen.seq else self._listen(reap=False)
            case _Phase.PAUSED if info.state == "paused" and info.head == seen.seq:
                return self._wait_for_answers()
            case _Phase.PAUSED:
                return self._to(_Phase.MISSING) if info.head > seen.seq else self._listen(reap=False)
            case _:
                return self._looked(info)

    def _short(self, info: RunInfo) -> Action:
        """The log ends before what was seen. Only the owner that wrote the rest can send it again, and only while it
        owns the run, so the wait ends with its lease."""
        seen = self._seen
        if info.head >= seen.seq:
            return self._gap(seen.seq) if self._phase is _Phase.SHORT_AGAIN else self._to(_Phase.RECHECKING)
        if info.state != "running" or info.epoch != seen.epoch:
            return self._rewound(None)
        notice = self._tell("rewound", rewound(self.run_id, head=info.head, seen=seen.seq))
        self._phase = _Phase.LOST
        return Listen(max(_FIRST_LOOK_S, self._share_s), notice, reap=True)

    def _looked(self, info: RunInfo) -> Action:
        seen = self._seen
        if info.head > seen.seq:
            return self._to(_Phase.OVERDUE)
        if info.head < seen.seq:
            return self._to(_Phase.ABOVE) if seen.certain else self._gap(seen.seq + 1)
        # Each claim writes a record: under another epoch another record has replaced the last one.
        if self._endless(info) or seen.epoch not in (None, info.epoch):
            self._info = info
            return self._to(_Phase.CHECKING)
        return self._wait_with(info)

    def _above(self, info: RunInfo) -> Action:
        """The log had records above the head when it was read, and at the look before. The head moves with each write of
        playhead, in one step: so if it still has not, another program wrote them."""
        seen = self._seen
        if info.head >= seen.seq:
            return self._listen(reap=False)
        return self._fail(
            ForeignRecordError(
                f"run {self.run_id}: its log has record {seen.seq}, and the run has {info.head}: another program wrote the "
                f"rest. `playhead doctor {self.run_id}` prints what is wrong."
            )
        )

    def _endless(self, info: RunInfo) -> bool:
        """Whether the run has ended, although the last record seen is not terminal."""
        return info.ended and self._seen.type not in ("", *TERMINAL_TYPES)

    def _wait_with(self, info: RunInfo) -> Action:
        """The run has nothing new: end with it, or send a notice of what it waits for."""
        if info.ended:
            return self._to(_Phase.ENDED)
        if info.state == "paused":
            return self._wait_for_answers()
        if self._refusal is not None:
            return self._listen(self._tell("refused", refused(self.run_id, info.state, self._refusal)))
        if info.state == "queued":
            self._info = info
            return self._to(_Phase.QUEUED)
        self._info = info
        return self._to(_Phase.HELD)

    def _wait_for_answers(self) -> Action:
        if self._on_pause == "end":
            return self._to(_Phase.ENDED)
        if "paused" in self._told:
            return self._listen()
        if not self._seen.type:  # seen by its number only
            return self._to(_Phase.ASKING)
        return self._listen(self._paused())

    def on_pause_record(self, page: list[Segment]) -> Action:
        """The requested record, if it exists."""
        seq = self._seen.seq
        if not page or page[0].first != seq:
            return self._gap(seq, page[0].first if page else None)
        self._seen.learn(page[0].values[0])
        return self._listen(self._paused())

    def _paused(self) -> Notice | None:
        asked = self._seen.open_interrupts
        return self._tell("paused", waiting_for(self.run_id, asked), interrupts=asked)

    # ------------------------------------------------------------------ the queue

    def on_workers(self, workers: Sequence[WorkerInfo]) -> Action:
        """The live workers."""
        info = self._info
        assert info is not None
        if any(info.agent in worker.agents for worker in workers):
            self._unserved_s = 0.0
            if "queued" in self._told:
                return self._listen()
            if info.session is None:
                return self.on_holder(None, None)
            self._phase = _Phase.BLOCKED
            return AskHolder(info.session)
        text = no_worker(info.agent, workers)
        self._unserved_s += self._waited_s
        if self._wait_for_worker is not None and self._unserved_s >= self._wait_for_worker:
            text = f"{text}; run {self.run_id} stays queued. Start a worker, or cancel the run."
            return self._fail(NoWorkerError(text))
        return self._listen(self._tell("no_worker", f"{text}; waiting. Start one: playhead worker TARGET"))

    def on_holder(self, holder: str | None, info: RunInfo | None) -> Action:
        """The run that has the session of this one, and its state."""
        return self._listen(self._tell("queued", queued(self.run_id, holder, info)))

    # ------------------------------------------------------------------ the owner

    def on_lease(self, lease: LeaseInfo | None) -> Action:
        """The lease of the run's owner; None if there is none, or if it cannot be read."""
        info = self._info
        if lease is None or info is None:
            return self._listen()
        notice = None
        if lease.now < lease.overdue:
            self._told = tuple(kind for kind in self._told if kind != "silent")
        elif "silent" not in self._told:
            self._told += ("silent",)
            notice = silent(self.run_id, info.worker, lease)
        # The next look is due when a renewal is overdue, then when the lease ends, so that the run is taken from its
        # owner; in between as always.
        due = (lease.overdue if lease.now < lease.overdue else lease.ends) - lease.now
        if due > 0:
            self._listen_s = min(self._listen_s, max(due / 1000, _SOONEST_LOOK_S, self._share_s))
        return self._listen(notice)

    # ------------------------------------------------------------------ errors

    def on_unreachable(self, reason: str) -> Action:
        """Redis was unreachable for the last action."""
        notice = self._tell("unreachable", reason)
        return self._listen(notice) if self._phase in _CURIOUS else Rest(_AWAY_S, notice)


def _head(data: bytes) -> tuple[int, int, int, bytes]:
    """First number, epoch and count of a published batch, and its records."""
    head, _, body = data.partition(b"\n")
    place, _, number = head.partition(b" ")
    first, _, epoch = place.partition(b"-")
    try:
        found = int(first), int(epoch), int(number), body
    except ValueError:
        found = 0, 0, 0, body
    if not 0 < found[2] <= len(body):
        raise ForeignRecordError(f"not a batch of playhead: {data[:40]!r}")
    return found
