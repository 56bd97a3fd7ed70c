"""The log in this process: the Redis log's semantics with nothing to install, for one event loop.

No method awaits between its checks and its writes, so each is atomic on its loop, as a script is on the server. Records
are kept as the bytes they came as and decoded when read: every backend proves the same encoding.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import anyio
import anyio.lowlevel

from playhead.runtime.codec import decode_record, encode_record, pack, unpack
from playhead.runtime.errors import InterruptNotOpenError
from playhead.runtime.log.base import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    SESSION_RETENTION_MS,
    Answer,
    Batch,
    Claim,
    Code,
    Finish,
    NewRun,
    Renewal,
    RunInfo,
    RunStateName,
    Signal,
    WorkerInfo,
    answered_interrupts,
    check_signal,
    crash_failure,
    deadline_failure,
)
from playhead.runtime.log.memory_state import MemoryRun, MemorySession, MemoryWaiter
from playhead.runtime.records import Entry
from playhead.runtime.types import Message

__all__ = ["MemoryLog"]

_CLAIM_MEMO_MS: Final = 60_000
"""How long at least a claim's token is remembered: a late repeat must not take a second run."""


def _wall_clock() -> Callable[[], int]:
    """Unix milliseconds that never go back while this process lives."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: (offset + time.monotonic_ns()) // 1_000_000


class MemoryLog:
    """A `Log` that lives and dies with this object. Use it from one event loop only.

    Args:
        clock: Gives the present in milliseconds; leases, due times and retention go by it. Defaults to unix time that
            does not jump. `wait_for_work` always waits in real time.
    """

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self._now = clock or _wall_clock()
        self._runs: dict[str, MemoryRun] = {}
        self._sessions: dict[str, MemorySession] = {}
        self._ready: dict[str, list[tuple[int, int, str]]] = {}  # agent -> heap of (due, ticket, run id)
        self._tickets = itertools.count(1)
        self._leases: dict[str, int] = {}  # run id -> deadline
        self._deadlines: dict[str, int] = {}  # run id -> deadline, of those that have one and have not ended
        self._claims: dict[str, tuple[int, str]] = {}  # token -> (when to forget it, run id), oldest first
        self._expiring: list[tuple[int, str]] = []  # heap of (expiry, run id)
        self._workers: dict[str, tuple[int, WorkerInfo]] = {}  # name -> (expiry, announcement)
        self._waiters: set[MemoryWaiter] = set()
        self._rung: dict[str, dict[str, None]] = {}  # worker -> its runs signalled and not yet told, oldest first

    # ------------------------------------------------------------------ clients

    async def submit(self, run: NewRun) -> bool:
        """See `Log.submit`. Raises `EncodingError` or `RecordTooLargeError` before anything is changed."""
        now = self._now()
        self._sweep(now)
        if run.run_id in self._runs:
            return False
        record = encode_record(run.record)
        new = MemoryRun(run.run_id, run.agent, run.session, created=now, updated=now, entries=[(0, record)])
        self._runs[run.run_id] = new
        if run.deadline_ms:
            new.deadline = self._deadlines[run.run_id] = now + run.deadline_ms
        if run.session is not None:
            session = self._session(run.session) or self._sessions.setdefault(run.session, MemorySession())
            session.expires = None
            if session.holder is not None:
                session.waiting.append(run.run_id)
                return True
            session.holder = run.run_id
        self._enqueue(new, now)
        return True

    async def signal(self, run_id: str, signal: Signal, *, at_once: Sequence[bytes] = ()) -> RunStateName | None:
        """See `Log.signal`. Raises `EncodingError` if the signal's body is not plain data."""
        check_signal(signal)
        run = self._find(run_id)
        if run is None:
            return None
        if run.expires is not None or signal.signal_id in run.seen:
            return run.state
        answers = answered_interrupts(signal)
        if refused := [interrupt for interrupt in answers if interrupt not in run.asked]:
            raise InterruptNotOpenError(run_id, refused)
        signal = replace(signal, body=unpack(pack(signal.body)))
        run.seen.add(signal.signal_id)
        ending = at_once if signal.kind == "cancel" else ()
        if ending and run.state != "running":
            return self._end_cancelled(run, ending)
        run.asked.difference_update(answers)
        run.inbox.append(signal)
        if ending:
            run.cancel = signal, ending
        if run.worker is not None:
            self._rung.setdefault(run.worker, {})[run_id] = None
            self._wake(lambda waiter: waiter.worker == run.worker)
        if run.state == "paused" and signal.kind != "steer":
            now = self._now()
            run.state, run.updated = "queued", now
            self._enqueue(run, now)
        return run.state

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`."""
        return self._entries(run_id, range(after, after + limit))

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        run = self._find(run_id)
        last = min(before - 1, len(run.entries) if run else 0)
        return self._entries(run_id, range(last - 1, max(last - 1 - limit, -1), -1))

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`."""
        run = self._find(run_id)
        return run.info() if run else None

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        """See `Log.runs`."""
        self._sweep(self._now())
        return [run.info() for run in itertools.islice(reversed(self._runs.values()), limit)]

    async def messages(self, session: str) -> list[Message]:
        """See `Log.messages`."""
        found = self._session(session)
        return [unpack(data) for data in found.messages] if found else []

    async def holder(self, session: str) -> str | None:
        """See `Log.holder`."""
        found = self._session(session)
        return found.holder if found else None

    async def workers(self) -> list[WorkerInfo]:
        """See `Log.workers`."""
        now = self._now()
        self._workers = {name: held for name, held in self._workers.items() if held[0] > now}
        return [info for _, info in self._workers.values()]

    # ------------------------------------------------------------------ workers

    async def claim(
        self,
        agents: Mapping[str, bytes],
        *,
        worker: str,
        token: str,
        lease_ms: int,
        crash_limit: int = DEFAULT_CRASH_LIMIT,
        retention_ms: int = DEFAULT_RETENTION_MS,
    ) -> Claim | None:
        """See `Log.claim`."""
        now = self._now()
        if claimed := self._claims.get(token):
            run = self._owned(claimed[1], token)
            if run is None:
                return None
            self._leases[run.run_id] = now + lease_ms
            return run.claim()
        while self._claims and (oldest := next(iter(self._claims))) and self._claims[oldest][0] <= now:
            del self._claims[oldest]
        due = [line[0] for line in map(self._line, agents) if line and line[0][0] <= now]
        if not due:
            return None
        run = self._runs[min(due)[2]]
        heapq.heappop(self._ready[run.agent])
        run.epoch += 1
        run.append([agents[run.agent]])
        run.state, run.token, run.worker, run.updated = "running", token, worker, now
        run.crash_limit, run.retention_ms = crash_limit, retention_ms
        self._leases[run.run_id] = now + lease_ms
        self._claims[token] = now + max(lease_ms, _CLAIM_MEMO_MS), run.run_id
        return run.claim()

    async def append(self, batches: Sequence[Batch]) -> list[Answer]:
        """See `Log.append`."""
        return [self._append(batch) for batch in batches]

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        """See `Log.renew`."""
        deadline = self._now() + lease_ms
        renewals: list[Renewal] = []
        for run_id, token in owned:
            run = self._owned(run_id, token)
            if run:
                self._leases[run_id] = deadline
            renewals.append(Renewal(ours=run is not None, inbox=len(run.inbox) if run else 0))
        return renewals

    async def finish(self, end: Finish) -> Answer:
        """See `Log.finish`. Raises `EncodingError` before anything is changed if a message is not plain data."""
        messages = [pack(message) for message in end.messages]
        batch = end.batch
        run = self._find(batch.run_id)
        if run and run.state == end.state and _repeats(run, batch, run.token):
            return run.answer(Code.DUP)
        if run and end.state == "completed" and self._would_lose_signals(run, batch):
            return run.answer(Code.WAITING)
        answer = self._append(batch)
        if run is None or answer.code is not Code.OK:
            return _not_ended(answer)
        run.errors += end.state == "failed"
        if end.session is not None:
            self._sessions.setdefault(end.session, MemorySession()).messages.extend(messages)
        self._end(run, end.state, retention_ms=end.retention_ms)
        return run.answer(Code.OK)

    async def release(self, batch: Batch) -> Answer:
        """See `Log.release`."""
        run, answer = self._part(batch)
        if run is not None:
            run.handovers += 1
            self._let_go(run, self._now())
        return answer

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> Answer:
        """See `Log.pause`."""
        run, answer = self._part(batch)
        if run is None:
            return answer
        if run.inbox:  # maybe with the answer to one of them
            self._let_go(run, self._now())
        else:
            run.asked.update(interrupts)
            self._disown(run)
            run.state, run.worker, run.updated = "paused", None, self._now()
        return answer

    async def reap(self, *, limit: int = 32) -> list[str]:
        """See `Log.reap`."""
        now = self._now()
        late = _passed(self._deadlines, now, limit)
        for run_id in late:
            self._fail(self._runs[run_id], deadline_failure())
        dead = _passed(self._leases, now, limit - len(late))
        for run_id in dead:
            run = self._runs[run_id]
            run.crashes += 1
            if run.crashes > run.crash_limit:
                self._fail(run, crash_failure())
            else:
                self._let_go(run, now)
        return late + dead

    async def inbox(self, run_id: str) -> list[Signal]:
        """See `Log.inbox`."""
        run = self._find(run_id)
        return list(run.inbox) if run else []

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        """See `Log.announce`."""
        self._workers[worker.worker] = (self._now() + ttl_ms, worker)

    async def retire(self, worker: str) -> None:
        """See `Log.retire`."""
        self._workers.pop(worker, None)

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """See `Log.wait_for_work`. Wakes at once for what came before the call."""
        now = self._now()
        due = any(line[0][0] <= now for line in map(self._line, agents) if line)
        if due or worker in self._rung:
            await anyio.lowlevel.checkpoint()
        else:
            waiter = MemoryWaiter(frozenset(agents), worker)
            self._waiters.add(waiter)
            try:
                with anyio.move_on_after(timeout):
                    await waiter.woken.wait()
            finally:
                self._waiters.discard(waiter)
        return self._take_rung(worker)

    # ------------------------------------------------------------------ inside

    def _find(self, run_id: str) -> MemoryRun | None:
        run = self._runs.get(run_id)
        if run is None or run.expires is None:  # no look at the clock on the owner's path
            return run
        self._sweep(self._now())
        return self._runs.get(run_id)

    def _sweep(self, now: int) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            del self._runs[heapq.heappop(self._expiring)[1]]

    def _entries(self, run_id: str, places: range) -> list[Entry]:
        run = self._find(run_id)
        if run is None:
            return []
        entries = run.entries
        return [
            Entry(place + 1, entries[place][0], decode_record(entries[place][1]))
            for place in places
            if place < len(entries)
        ]

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
            return None, _not_ended(answer)
        run.token, run.released = None, (batch.token, len(run.entries))
        return run, answer

    def _would_lose_signals(self, run: MemoryRun, batch: Batch) -> bool:
        owned = run.state == "running" and run.token == batch.token and len(run.entries) == batch.head
        return owned and len(run.inbox) > batch.ack

    def _let_go(self, run: MemoryRun, now: int) -> None:
        """Nobody holds the run any more: back in line, or, if its owner left a cancel untaken, to its end."""
        self._disown(run)
        run.state, run.token, run.worker, run.updated = "queued", None, None, now
        if run.cancel is not None and run.cancel[0] in run.inbox:
            self._end_cancelled(run, run.cancel[1])
        else:
            self._enqueue(run, now)

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
        run.state, run.updated, run.expires, run.ticket = state, now, now + retention_ms, 0
        run.inbox.clear()
        heapq.heappush(self._expiring, (run.expires, run.run_id))
        if run.session is not None:
            self._pass_on(run.session, run.run_id, now)

    def _pass_on(self, name: str, ended: str, now: int) -> None:
        session = self._sessions[name]
        if session.holder != ended:
            session.waiting.remove(ended)
            return
        session.holder = session.waiting.popleft() if session.waiting else None
        if session.holder is not None:
            self._enqueue(self._runs[session.holder], now)
        elif session.messages:
            session.expires = now + SESSION_RETENTION_MS
        else:
            del self._sessions[name]

    def _session(self, name: str) -> MemorySession | None:
        session = self._sessions.get(name)
        if session is not None and session.expires is not None and session.expires <= self._now():
            del self._sessions[name]
            return None
        return session

    def _enqueue(self, run: MemoryRun, due: int) -> None:
        run.ticket = next(self._tickets)
        heapq.heappush(self._ready.setdefault(run.agent, []), (due, run.ticket, run.run_id))
        self._wake(lambda waiter: run.agent in waiter.agents)

    def _line(self, agent: str) -> list[tuple[int, int, str]]:
        """The agent's line with a queued run at its top, or empty."""
        line = self._ready.get(agent, [])
        while line and not self._in_line(line[0]):
            heapq.heappop(line)
        return line

    def _in_line(self, place: tuple[int, int, str]) -> bool:
        run = self._runs.get(place[2])
        return run is not None and run.ticket == place[1]

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


def _passed(times: Mapping[str, int], now: int, limit: int) -> list[str]:
    """The keys whose time is before `now`, the oldest first."""
    passed = ((time, key) for key, time in times.items() if time < now)
    return [key for _, key in heapq.nsmallest(limit, passed)]


def _not_ended(answer: Answer) -> Answer:
    """What a refused append means to a call that ends an ownership: while it holds, there was no earlier try."""
    return replace(answer, code=Code.CONFLICT) if answer.code is Code.DUP else answer


def _repeats(run: MemoryRun, batch: Batch, token: str | None) -> bool:
    """The batch is an earlier try of a call that ended the ownership `token` and left the head where it is."""
    return token == batch.token and len(run.entries) == batch.head + len(batch.records)
