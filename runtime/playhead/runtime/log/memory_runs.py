"""What the memory log holds, and what becomes of a run: how it is found, written to, let go, ended and put in line.

Each step is what a function of `common.lua` is to the scripts. For `memory` only.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from playhead.runtime.codec import decode_stored
from playhead.runtime.log.base import SESSION_RETENTION_MS, Answer, Batch, Code, RunStateName, WorkerInfo
from playhead.runtime.log.memory_state import MemoryRun, MemorySession, MemoryWaiter
from playhead.runtime.segments import Segment, segments

__all__ = ["MemoryRuns", "not_ended", "repeats"]


def _wall_clock() -> Callable[[], int]:
    """Unix milliseconds that never go back while this process lives."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: (offset + time.monotonic_ns()) // 1_000_000


class MemoryRuns:
    """All runs, sessions and workers. No method awaits, so each is atomic on its loop."""

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self._now = clock or _wall_clock()
        self._runs: dict[str, MemoryRun] = {}
        self._sessions: dict[str, MemorySession] = {}
        self._ready: dict[str, list[tuple[int, str]]] = {}  # agent -> heap of (place, run id)
        self._place = 0  # the last one given
        self._leases: dict[str, int] = {}  # run id -> deadline
        self._deadlines: dict[str, int] = {}  # run id -> deadline, of those that have one and have not ended
        self._claims: dict[str, tuple[int, str]] = {}  # token -> (when to forget it, run id), oldest first
        self._expiring: list[tuple[int, str]] = []  # heap of (expiry, run id)
        self._workers: dict[str, tuple[int, WorkerInfo]] = {}  # name -> (expiry, announcement)
        self._waiters: set[MemoryWaiter] = set()
        self._rung: dict[str, dict[str, None]] = {}  # worker -> its runs signalled and not yet told, oldest first

    def _find(self, run_id: str) -> MemoryRun | None:
        run = self._runs.get(run_id)
        if run is None or run.expires is None:  # no look at the clock on the owner's path
            return run
        self._sweep(self._now())
        return self._runs.get(run_id)

    def _sweep(self, now: int) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            del self._runs[heapq.heappop(self._expiring)[1]]

    def _segments(self, run_id: str, after: int, last: int) -> list[Segment]:
        run = self._find(run_id)
        found = run.entries[after:last] if run else []
        places = [(seq, epoch) for seq, (epoch, _) in enumerate(found, after + 1)]
        return segments(places, [decode_stored(data) for _, data in found])

    def _append(self, batch: Batch) -> Answer:
        run = self._find(batch.run_id)
        if run is None:
            return Answer(Code.GONE)
        if run.state != "running" or run.token != batch.token:
            return run.answer(Code.FENCED)
        head = len(run.entries)
        if head == batch.head:
            run.append(batch.records)
            if batch.ack:
                del run.inbox[: batch.ack]
            return run.answer(Code.OK)
        return run.answer(Code.DUP if head == batch.head + len(batch.records) else Code.CONFLICT)

    def _owned(self, run_id: str, token: str) -> MemoryRun | None:
        run = self._runs.get(run_id)
        return run if run and run.state == "running" and run.token == token else None

    def _disown(self, run: MemoryRun) -> None:
        """Drop what an ownership brings, but not its token: `finish` knows its own repeat by it."""
        self._leases.pop(run.run_id, None)
        if run.worker is not None and (rung := self._rung.get(run.worker)):
            rung.pop(run.run_id, None)
            if not rung:
                del self._rung[run.worker]

    def _part(self, batch: Batch) -> tuple[MemoryRun | None, Answer]:
        """The owner's last batch of an ownership it ends by itself; the run if that is this call's doing."""
        run = self._find(batch.run_id)
        if run and run.released == (batch.token, batch.head + len(batch.records)):
            return None, run.answer(Code.DUP)
        answer = self._append(batch)
        if run is None or answer.code is not Code.OK:
            return None, not_ended(answer)
        run.token, run.released = None, (batch.token, len(run.entries))
        return run, answer

    def _would_lose_signals(self, run: MemoryRun, batch: Batch) -> bool:
        return self._next(run, batch) and len(run.inbox) > batch.ack

    def _next(self, run: MemoryRun, batch: Batch) -> bool:
        """The batch is the owner's and directly behind the head."""
        return run.state == "running" and run.token == batch.token and len(run.entries) == batch.head

    def _let_go(self, run: MemoryRun, now: int) -> None:
        """Nobody holds the run any more: at the end of the line, or, if its owner left a cancel untaken, to its end."""
        self._disown(run)
        run.state, run.token, run.worker, run.updated = "queued", None, None, now
        if run.cancel is not None and run.cancel[0] in run.inbox:
            self._end_cancelled(run, run.cancel[1])
        else:
            self._enqueue(run)

    def _end_cancelled(self, run: MemoryRun, records: Sequence[bytes]) -> RunStateName:
        run.append(records)
        self._end(run, "cancelled", retention_ms=run.retention_ms)
        return run.state

    def _fail(self, run: MemoryRun, record: bytes) -> None:
        run.append([record])
        self._end(run, "failed", retention_ms=run.retention_ms)
        run.token = None  # the former owner's repeat must meet the fence

    def _end(self, run: MemoryRun, state: RunStateName, *, retention_ms: int) -> None:
        now = self._now()
        self._disown(run)
        self._deadlines.pop(run.run_id, None)
        run.state, run.updated, run.expires, run.place = state, now, now + retention_ms, 0
        run.inbox.clear()
        heapq.heappush(self._expiring, (run.expires, run.run_id))
        if run.session is not None:
            self._pass_on(run.session, run.run_id)

    def _pass_on(self, name: str, ended: str) -> None:
        session = self._sessions[name]
        if session.holder != ended:
            session.waiting.remove(ended)
            return
        session.holder = session.waiting.popleft() if session.waiting else None
        if session.holder is not None:
            self._enqueue(self._runs[session.holder])
        elif session.messages:
            session.expires = self._now() + SESSION_RETENTION_MS
        else:
            del self._sessions[name]

    def _session(self, name: str) -> MemorySession | None:
        session = self._sessions.get(name)
        if session is not None and session.expires is not None and session.expires <= self._now():
            del self._sessions[name]
            return None
        return session

    def _line_now(self) -> int:
        """The present, for places in line: microseconds, and never before a place that was given."""
        return max(self._now() * 1000, self._place)

    def _enqueue(self, run: MemoryRun) -> None:
        """Put the run at the end of its agent's line, behind every run that was put into any line before it."""
        run.place = self._place = max(self._line_now(), self._place + 1)
        heapq.heappush(self._ready.setdefault(run.agent, []), (run.place, run.run_id))
        self._wake(lambda waiter: run.agent in waiter.agents)

    def _line(self, agent: str) -> list[tuple[int, str]]:
        """The agent's line with a queued run at its top, or empty."""
        line = self._ready.get(agent, [])
        while line and not self._in_line(line[0]):
            heapq.heappop(line)
        return line

    def _in_line(self, entry: tuple[int, str]) -> bool:
        run = self._runs.get(entry[1])
        return run is not None and run.place == entry[0]

    def _wake(self, concerned: Callable[[MemoryWaiter], bool]) -> None:
        for waiter in self._waiters:
            if concerned(waiter):
                waiter.woken.set()

    def _take_rung(self, worker: str) -> str | None:
        rung = self._rung.get(worker)
        if not rung:
            return None
        run_id = next(iter(rung))
        del rung[run_id]
        if not rung:
            del self._rung[worker]
        return run_id


def not_ended(answer: Answer) -> Answer:
    """What a refused append means to a call that ends an ownership: while it holds, there was no earlier try."""
    return replace(answer, code=Code.CONFLICT) if answer.code is Code.DUP else answer


def repeats(run: MemoryRun, batch: Batch, token: str | None) -> bool:
    """The batch is an earlier try of a call that ended the ownership `token` and left the head where it is."""
    return token == batch.token and len(run.entries) == batch.head + len(batch.records)
