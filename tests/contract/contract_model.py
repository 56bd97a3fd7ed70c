"""The log in plain Python, as small as it can be said: what each call must answer and what is then true.

Nothing is stored of where a run is: that it is in line, leased, or waits for its session follows from its state. There is
no clock either; a test says which leases and deadlines have passed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from playhead.runtime.errors import InterruptNotOpenError
from playhead.runtime.log.base import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Answer,
    Batch,
    Claim,
    Code,
    Finish,
    NewRun,
    Renewal,
    RunStateName,
    Signal,
    answered_interrupts,
    check_signal,
)

__all__ = ["ENDED", "Model", "ModelRun"]

ENDED = ("completed", "failed", "cancelled")


@dataclass
class ModelRun:
    """One run. `log` holds (epoch, record); a record that the log builds itself is the error type it must name."""

    agent: str
    session: str | None
    log: list[tuple[int, bytes | str]]
    state: RunStateName = "queued"
    epoch: int = 0
    token: str = ""
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS
    counts: dict[str, int] = field(default_factory=lambda: {"crashes": 0, "handovers": 0, "errors": 0})
    inbox: list[Signal] = field(default_factory=list[Signal])
    seen: set[str] = field(default_factory=set[str])
    asked: set[str] = field(default_factory=set[str])
    parted: tuple[str, int] | None = None
    cancel: tuple[Signal, Sequence[bytes]] | None = None

    @property
    def head(self) -> int:
        return len(self.log)

    def write(self, records: Sequence[bytes | str], ack: int = 0) -> None:
        self.log += [(self.epoch, record) for record in records]
        del self.inbox[:ack]

    def answer(self, code: Code) -> Answer:
        return Answer(code, self.head, len(self.inbox))

    def held_by(self, token: str) -> bool:
        return self.state == "running" and self.token == token


class Model:
    """All runs, and who holds which session.

    Attributes:
        late: Runs whose deadline has passed, the first first.
        dead: Runs whose lease has passed, the first first.
    """

    def __init__(self) -> None:
        self.runs: dict[str, ModelRun] = {}
        self.holders: dict[str, str] = {}
        self.waiting: dict[str, list[str]] = {}
        self.messages: dict[str, int] = {}
        self.deadlines: set[str] = set()
        self.late: list[str] = []
        self.dead: list[str] = []
        self.claims: dict[str, str] = {}

    def in_line(self, agents: Collection[str]) -> set[str]:
        """The runs that a worker of `agents` may take."""
        return {
            run_id
            for run_id, run in self.runs.items()
            if run.agent in agents and run.state == "queued" and self.holders.get(run.session or "", run_id) == run_id
        }

    # ---------------------------------------------------------------- calls

    def submit(self, new: NewRun, record: bytes) -> bool:
        if new.run_id in self.runs:
            return False
        self.runs[new.run_id] = ModelRun(new.agent, new.session, [(0, record)])
        if new.deadline_ms is not None:
            self.deadlines.add(new.run_id)
        if new.session and self.holders.setdefault(new.session, new.run_id) != new.run_id:
            self.waiting.setdefault(new.session, []).append(new.run_id)
        return True

    def claim(self, run_id: str, token: str, record: bytes, *, crash_limit: int, retention_ms: int) -> Claim:
        run = self.runs[run_id]
        run.state, run.token, run.epoch = "running", token, run.epoch + 1
        run.crash_limit, run.retention_ms = crash_limit, retention_ms
        run.write([record])
        self.claims[token] = run_id
        return self._claim(run_id)

    def claim_again(self, token: str) -> Claim | None:
        """The answer to a token that has claimed before; the lease of what it still holds counts from here."""
        run_id = self.claims[token]
        run = self.runs.get(run_id)
        if run is None or not run.held_by(token):
            return None
        self._alive(run_id)
        return self._claim(run_id)

    def _claim(self, run_id: str) -> Claim:
        run = self.runs[run_id]
        crashes = run.counts["crashes"]
        return Claim(run_id, run.token, run.epoch, run.head, run.agent, run.session, crashes, len(run.inbox))

    def append(self, batch: Batch) -> Answer:
        run = self.runs.get(batch.run_id)
        if run is None:
            return Answer(Code.GONE)
        if not run.held_by(batch.token):
            return run.answer(Code.FENCED)
        if run.head == batch.head:
            run.write(batch.records, batch.ack)
            return run.answer(Code.OK)
        return run.answer(Code.DUP if run.head == batch.head + len(batch.records) else Code.CONFLICT)

    def renew(self, owned: Sequence[tuple[str, str]]) -> list[Renewal]:
        renewals: list[Renewal] = []
        for run_id, token in owned:
            run = self.runs.get(run_id)
            if run and run.held_by(token):
                self._alive(run_id)
                renewals.append(Renewal(ours=True, inbox=len(run.inbox)))
            else:
                renewals.append(Renewal(ours=False))
        return renewals

    def finish(self, end: Finish) -> Answer:
        batch, run = end.batch, self.runs.get(end.batch.run_id)
        if (
            run
            and batch.token
            and (run.token, run.state, run.head)
            == (
                batch.token,
                end.state,
                batch.head + len(batch.records),
            )
        ):
            return run.answer(Code.DUP)
        if run and run.held_by(batch.token) and run.head == batch.head:
            if end.state == "completed" and len(run.inbox) > batch.ack:
                return run.answer(Code.WAITING)
            run.write(batch.records, batch.ack)
            run.counts["errors"] += end.state == "failed"
            if run.session:
                self.messages[run.session] = self.messages.get(run.session, 0) + len(end.messages)
            self._end(batch.run_id, end.state)
            run.retention_ms = end.retention_ms
            return run.answer(Code.OK)
        return self._refusal(run, batch)

    def release(self, batch: Batch) -> Answer:
        answer, run = self._part(batch)
        if run:
            run.counts["handovers"] += 1
            self._let_go(batch.run_id)
        return answer

    def pause(self, batch: Batch, interrupts: Collection[str]) -> Answer:
        answer, run = self._part(batch)
        if run:
            if run.inbox:
                self._let_go(batch.run_id)
            else:
                run.asked |= set(interrupts)
                run.state = "paused"
        return answer

    def signal(self, run_id: str, signal: Signal, at_once: Sequence[bytes]) -> RunStateName | None:
        check_signal(signal)
        run = self.runs.get(run_id)
        if run is None or run.state in ENDED or signal.signal_id in run.seen:
            return run.state if run else None
        answers = answered_interrupts(signal)
        if refused := [interrupt for interrupt in answers if interrupt not in run.asked]:
            raise InterruptNotOpenError(run_id, refused)
        run.seen.add(signal.signal_id)
        last_words = at_once if signal.kind == "cancel" else ()
        if last_words and run.state != "running":
            run.write(last_words)
            return self._end(run_id, "cancelled")
        run.asked -= set(answers)
        run.inbox.append(signal)
        if last_words:
            run.cancel = signal, last_words
        if run.state == "paused" and signal.kind != "steer":
            run.state = "queued"
        return run.state

    def reap(self, limit: int) -> list[str]:
        late = self.late[:limit]
        for run_id in late:
            self._fail(run_id, "DeadlineExceeded")
        dead = self.dead[: limit - len(late)]
        for run_id in dead:
            run = self.runs[run_id]
            run.counts["crashes"] += 1
            if run.counts["crashes"] > run.crash_limit:
                self._fail(run_id, "CrashLimitExceeded")
            else:
                self._let_go(run_id)
        return late + dead

    # ---------------------------------------------------------------- time

    def lease_passes(self, run_id: str) -> None:
        self._alive(run_id)
        self.dead.append(run_id)

    def deadline_passes(self, run_id: str) -> None:
        self.deadlines.discard(run_id)
        self.late.append(run_id)

    def retention_passes(self, run_id: str) -> None:
        del self.runs[run_id]

    # ---------------------------------------------------------------- inside

    def _alive(self, run_id: str) -> None:
        if run_id in self.dead:
            self.dead.remove(run_id)

    def _refusal(self, run: ModelRun | None, batch: Batch) -> Answer:
        if run is None:
            return Answer(Code.GONE)
        return run.answer(Code.CONFLICT if run.held_by(batch.token) else Code.FENCED)

    def _part(self, batch: Batch) -> tuple[Answer, ModelRun | None]:
        run = self.runs.get(batch.run_id)
        if run and run.parted == (batch.token, batch.head + len(batch.records)):
            return run.answer(Code.DUP), None
        if run is None or not run.held_by(batch.token) or run.head != batch.head:
            return self._refusal(run, batch), None
        run.write(batch.records, batch.ack)
        run.token, run.parted = "", (batch.token, run.head)
        self._alive(batch.run_id)
        return run.answer(Code.OK), run

    def _let_go(self, run_id: str) -> None:
        run = self.runs[run_id]
        self._alive(run_id)
        run.state, run.token = "queued", ""
        if run.cancel and run.cancel[0] in run.inbox:
            run.write(run.cancel[1])
            self._end(run_id, "cancelled")

    def _fail(self, run_id: str, error_type: str) -> None:
        self.runs[run_id].write([error_type])
        self._end(run_id, "failed")
        self.runs[run_id].token = ""

    def _end(self, run_id: str, state: RunStateName) -> RunStateName:
        run = self.runs[run_id]
        run.state = state
        run.inbox.clear()
        self._alive(run_id)
        self.deadlines.discard(run_id)
        if run_id in self.late:
            self.late.remove(run_id)
        if run.session:
            waiting = self.waiting.get(run.session, [])
            if self.holders[run.session] != run_id:
                waiting.remove(run_id)
            elif waiting:
                self.holders[run.session] = waiting.pop(0)
            else:
                del self.holders[run.session]
        return state
