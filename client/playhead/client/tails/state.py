"""Decides what a tail does next. Pure: `Tail` performs the requested action and reports its outcome to the state.

Each phase requests one action, and its outcome leads to the next phase: `phases` has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from playhead.client.tails.notice import Notice, no_worker, postponed, queued, refused, rewound, run_not_found
from playhead.client.tails.phases import CAN_WAIT, LOOKS, READS, UNSURE, Phase
from playhead.client.tails.published import new_part
from playhead.client.tails.seen import Seen
from playhead.client.tails.waiting import Waiting
from playhead.runtime.core.arguments import check_choice, check_number
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import ForeignRecordError, GapError, NoWorkerError, PlayheadError, RewindError
from playhead.runtime.core.records import TERMINAL_TYPES, Entry, now_ms
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.values import LeaseInfo, RunInfo, WorkerInfo

__all__ = ["PAGE", "OnPause", "TailState"]

OnPause = Literal["end", "wait"]
"""What a reader does while the run waits for responses: it ends, or sends a notice and waits. A past pause is ignored."""

PAGE: Final = 250
"""How many records a page has: more would save round trips, but cost more cache misses and garbage collection."""

_AWAY_S: Final = 0.5
_PAUSED: Final = "run.paused"


class TailState:
    """The state of one tail: what it has seen, its phase, and its waits.

    Args:
        after: The last entry seen, or a cursor; the whole record was seen.
        on_pause: Whether to end with the `run.paused` record if the run is still paused there.
        wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
        channels: Runs that are watched by the client: all their tails share the looks.
    """

    __slots__ = (
        "_error",
        "_info",
        "_on_pause",
        "_phase",
        "_refusal",
        "_seen",
        "_wait_for_worker",
        "_waiting",
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
        self._phase = Phase.READING
        self._on_pause = on_pause
        self._wait_for_worker = wait_for_worker
        self._waiting = Waiting(run_id, channels=channels)
        self._info: RunInfo | None = None  # the last look, while more is looked up
        self._refusal: str | None = None  # why the server accepted no writes at the last look
        self._error: PlayheadError | None = None

    @property
    def settled(self) -> bool:
        """Whether the last record seen is in the log unchanged; False if it is not, and until it has been read."""
        return self._phase not in UNSURE

    def ask(self) -> Action:
        """The next action: at the beginning, when the reader needs more, and after a rest or an interrupted wait."""
        phase, seen = self._phase, self._seen
        if phase is Phase.LISTENING:
            return Listen(self._waiting.listen_s)
        if phase in READS:
            return Read(seen.seq - 1, PAGE + 1) if seen.certain else Read(seen.seq, PAGE)
        if phase in LOOKS:
            return Look()
        if phase is Phase.OVERDUE:
            return Listen(self._waiting.waited_s)
        if phase is Phase.ASKING:
            return ReadPause(seen.seq)
        if phase in (Phase.QUEUED, Phase.BLOCKED):
            return AskWorkers()
        if phase is Phase.HELD:
            return AskLease()
        if phase is Phase.LOST:
            return Listen(self._waiting.rewound_s, reap=True)
        if phase is Phase.FAILED and self._error is not None:
            return Fail(self._error)
        return End()

    def _to(self, phase: Phase) -> Action:
        self._phase = phase
        return self.ask()

    def _fail(self, error: PlayheadError) -> Action:
        self._error = error
        return self._to(Phase.FAILED)

    def _gap(self, expected: int, found: int | None = None) -> Action:
        return self._fail(GapError(self.run_id, expected=expected, found=found))

    def _rewound(self, found: int | None) -> Action:
        seen, self._phase = self._seen, Phase.FAILED
        return Rewound(seen.seq, found, seen.claims)

    def _listen(self, notice: Notice | None = None, *, reap: bool = True) -> Action:
        self._phase, self._info = Phase.LISTENING, None
        return Listen(self._waiting.listen_s, notice, reap)

    # ------------------------------------------------------------------ the log

    def on_page(self, page: list[Segment]) -> Action:
        """Take a page of the log, from the requested number on."""
        seen = self._seen
        if seen.certain:
            if not page:
                return self._to(Phase.SHORT_AGAIN if self._phase is Phase.RECHECKING else Phase.SHORT)
            first, epoch, values = page[0]
            if first != seen.seq:
                return self._gap(seen.seq, first)
            if not seen.is_(first, epoch, values[0]):
                return self._rewound(first)
            seen.learn(values[0])
            page = [Segment(first + 1, epoch, values[1:]), *page[1:]] if len(values) > 1 else page[1:]
        return self._new(page) if page else self._nothing_new()

    def _new(self, page: list[Segment]) -> Action:
        """Give the records after those seen, as far as they are consecutive."""
        seen = self._seen
        # A short page ends at the head; later records are in the batches.
        then = Phase.READING if page[-1].last - seen.seq >= PAGE else Phase.LISTENING
        for index, segment in enumerate(page):
            if segment.first != seen.seq + 1:
                self._error = GapError(self.run_id, expected=seen.seq + 1, found=segment.first)
            elif not seen.may_precede(segment):
                self._error = RewindError(self.run_id, expected=seen.seq, found=segment.first)
            else:
                seen.take(segment)
                continue
            return self._give(page[:index], Phase.FAILED)
        return self._give(page, then)

    def _give(self, new: list[Segment], then: Phase) -> Action:
        if not new:
            return self._to(then)
        self._phase = self._after_last(then)
        self._info = None
        self._waiting.restart()
        return Give(new)

    def _after_last(self, otherwise: Phase) -> Phase:
        """The next phase: an owner writes nothing after an end or a pause."""
        if self._seen.type in TERMINAL_TYPES:
            return Phase.ENDED
        return Phase.PAUSED if self._seen.type == _PAUSED else otherwise

    def _nothing_new(self) -> Action:
        """Handle a log that ends with the last record seen."""
        seen, info = self._seen, self._info
        if seen.seq == 0:  # every run has a record 1, so this run does not exist
            return self._fail(run_not_found(self.run_id))
        if self._phase is Phase.MISSING:
            return self._to(Phase.CUT)
        if self._phase is Phase.ABOVE:
            return self._to(Phase.ABOVE_AGAIN)
        if self._phase is Phase.CHECKING and info is not None:
            return self._gap(seen.seq + 1) if self._endless(info) else self._wait_with(info)
        return self._to(self._after_last(Phase.LISTENING))

    # ------------------------------------------------------------------ what is published

    def on_batches(self, batches: Sequence[bytes]) -> Action:
        """Take batches published for the run, in the order in which they arrived."""
        if self._phase is Phase.LOST:
            return self._to(Phase.READING)
        new: list[Segment] = []
        for data in batches:
            try:
                segment = new_part(data, self._seen)
            except ForeignRecordError:  # only the log is reliable: any program can publish on a channel
                return self._give(new, Phase.READING)
            if segment is None:
                return self._give(new, Phase.READING)
            if segment.values:
                self._seen.take(segment)
                new.append(segment)
        return self._give(new, Phase.LISTENING)

    def on_missed(self) -> Action:
        """Note that a published batch may have been missed."""
        return self._to(Phase.READING)

    def on_silence(self, channels: int) -> Action:
        """Note that no batch arrived; `channels` runs are watched."""
        if self._phase in (Phase.OVERDUE, Phase.LOST):
            self._waiting.share(channels)
            return self._to(Phase.MISSING if self._phase is Phase.OVERDUE else Phase.READING)
        self._waiting.silence(channels)
        return self._to(Phase.LOOKING)

    # ------------------------------------------------------------------ the run

    def on_info(self, info: RunInfo | None, refusal: str | None = None) -> Action:
        """Take the state of the run (None if it does not exist), and why the server accepts no writes (None if it does)."""
        seen, self._refusal = self._seen, refusal
        if info is None:
            return self._fail(run_not_found(self.run_id, seen=seen.seq))
        match self._phase:
            case Phase.SHORT | Phase.SHORT_AGAIN:
                return self._short(info)
            case Phase.ABOVE_AGAIN:
                return self._above(info)
            case Phase.CUT:
                return self._gap(seen.seq + 1) if info.head > seen.seq else self._listen(reap=False)
            case Phase.PAUSED if info.state == "paused" and info.head == seen.seq:
                return self._wait_for_answers()
            case Phase.PAUSED:
                return self._to(Phase.MISSING) if info.head > seen.seq else self._listen(reap=False)
            case _:
                return self._looked(info)

    def _short(self, info: RunInfo) -> Action:
        """Handle a log that ends before the last record seen. Only the owner that wrote the rest can send it again, and
        only while it owns the run, so the wait ends with its lease."""
        seen = self._seen
        if info.head >= seen.seq:
            return self._gap(seen.seq) if self._phase is Phase.SHORT_AGAIN else self._to(Phase.RECHECKING)
        if info.state != "running" or info.epoch != seen.epoch:
            return self._rewound(None)
        notice = self._waiting.notice("rewound", rewound(self.run_id, head=info.head, seen=seen.seq))
        self._phase = Phase.LOST
        return Listen(self._waiting.rewound_s, notice, reap=True)

    def _looked(self, info: RunInfo) -> Action:
        seen = self._seen
        if info.head > seen.seq:
            return self._to(Phase.OVERDUE)
        if info.head < seen.seq:
            return self._to(Phase.ABOVE) if seen.certain else self._gap(seen.seq + 1)
        # Each claim writes a record: under another epoch another record has replaced the last one.
        if self._endless(info) or seen.epoch not in (None, info.epoch):
            self._info = info
            return self._to(Phase.CHECKING)
        return self._wait_with(info)

    def _above(self, info: RunInfo) -> Action:
        """Handle a log that had records above the head when it was read, and at the look before. Each write of playhead
        moves the head in the same step, so if the head has not moved, another program wrote them."""
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
        """Handle a run without new records: end with it, or send a notice of what it waits for."""
        if info.ended:
            return self._to(Phase.ENDED)
        if info.state == "paused":
            return self._wait_for_answers()
        if self._refusal is not None:
            reason = self._refusal  # empty if it accepts them again, and the owner has had no time to renew
            said = self._waiting.notice("refused", refused(self.run_id, info.state, reason)) if reason else None
            return self._listen(said)
        if info.due is not None and info.due > now_ms():
            return self._listen(self._waiting.notice("queued", postponed(self.run_id, info.due)))
        if info.state == "queued":
            self._info = info
            return self._to(Phase.QUEUED)
        self._info = info
        return self._to(Phase.HELD)

    def _wait_for_answers(self) -> Action:
        if self._on_pause == "end":
            return self._to(Phase.ENDED)
        if self._waiting.has_sent("paused"):
            return self._listen()
        if not self._seen.type:  # seen by its number only
            return self._to(Phase.ASKING)
        return self._listen(self._paused())

    def on_pause_record(self, page: list[Segment]) -> Action:
        """Take the requested record, if it exists."""
        seq = self._seen.seq
        if not page or page[0].first != seq:
            return self._gap(seq, page[0].first if page else None)
        self._seen.learn(page[0].values[0])
        return self._listen(self._paused())

    def _paused(self) -> Notice | None:
        asked = self._seen.open_interrupts
        return self._waiting.notice("paused", waiting_for(self.run_id, asked), interrupts=asked)

    # ------------------------------------------------------------------ the queue

    def on_workers(self, workers: Sequence[WorkerInfo]) -> Action:
        """Take the live workers."""
        info = self._info
        assert info is not None
        if any(info.agent in worker.agents for worker in workers):
            self._waiting.served()
            if self._waiting.has_sent("queued"):
                return self._listen()
            if info.session is None:
                return self.on_holder(None, None)
            self._phase = Phase.BLOCKED
            return AskHolder(info.session)
        text = no_worker(info.agent, workers)
        unserved_s = self._waiting.unserved_s()
        if self._wait_for_worker is not None and unserved_s >= self._wait_for_worker:
            text = f"{text}; run {self.run_id} stays queued. Start a worker, or cancel the run."
            return self._fail(NoWorkerError(text))
        return self._listen(self._waiting.notice("no_worker", f"{text}; waiting. Start one: playhead worker TARGET"))

    def on_holder(self, holder: str | None, info: RunInfo | None) -> Action:
        """Take the run that holds this run's session, and its state."""
        return self._listen(self._waiting.notice("queued", queued(self.run_id, holder, info)))

    # ------------------------------------------------------------------ the owner

    def on_lease(self, lease: LeaseInfo | None) -> Action:
        """Take the lease of the run's owner; None if there is none, or if it cannot be read."""
        info = self._info
        if lease is None or info is None:
            return self._listen()
        return self._listen(self._waiting.lease(lease, info.worker))

    # ------------------------------------------------------------------ errors

    def on_unreachable(self, reason: str) -> Action:
        """Note that Redis was unreachable for the last action."""
        notice = self._waiting.notice("unreachable", reason)
        return self._listen(notice) if self._phase in CAN_WAIT else Rest(_AWAY_S, notice)
