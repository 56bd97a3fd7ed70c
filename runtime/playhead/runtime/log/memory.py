"""The log in this process: the Redis log's semantics with nothing to install, for one event loop.

No method awaits between its checks and its writes, so each is atomic on its loop, as a script is on the server. Records
are kept as the bytes they came as and decoded when read: every backend proves the same encoding.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import anyio
import anyio.lowlevel

from playhead.runtime.codec import encode_record, pack, unpack
from playhead.runtime.errors import InterruptNotOpenError, PlayheadError
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
    RunInfo,
    RunStateName,
    Signal,
    WorkerInfo,
    answered_interrupts,
    check_claim,
    check_pause,
    check_signal,
    crash_failure,
    deadline_failure,
)
from playhead.runtime.log.check import check_count, check_duration
from playhead.runtime.log.memory_runs import MemoryRuns, not_ended, repeats
from playhead.runtime.log.memory_state import MemoryRun, MemorySession, MemoryWaiter
from playhead.runtime.records import Entry
from playhead.runtime.segments import Segment
from playhead.runtime.types import Message

__all__ = ["MemoryLog"]

_CLAIM_MEMO_MS: Final = 60_000
"""How long at least a claim's token is remembered: a late repeat must not take a second run."""


class MemoryLog(MemoryRuns):
    """A `Log` that lives and dies with this object. Use it from one event loop only.

    Args:
        clock: Gives the present in milliseconds; leases, due times and retention go by it. Defaults to unix time that
            does not jump. `wait_for_work` always waits in real time.
    """

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
        self._enqueue(new)
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
            run.state, run.updated = "queued", self._now()
            self._enqueue(run)
        return run.state

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`."""
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """See `Log.read_segments`."""
        check_count("after", after)
        check_count("limit", limit, least=1)
        return self._segments(run_id, after, after + limit)

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        check_count("before", before)
        check_count("limit", limit, least=1)
        run = self._find(run_id)
        last = max(0, min(before - 1, len(run.entries) if run else 0))
        found = self._segments(run_id, max(0, last - limit), last)
        return [entry for segment in found for entry in segment.entries()][::-1]

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`."""
        run = self._find(run_id)
        return run.info() if run else None

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        """See `Log.runs`."""
        check_count("limit", limit, least=1)
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
        check_claim(
            agents, worker=worker, token=token, lease_ms=lease_ms, crash_limit=crash_limit, retention_ms=retention_ms
        )
        now = self._now()
        if claimed := self._claims.get(token):
            run = self._owned(claimed[1], token)
            if run is None:
                return None
            self._leases[run.run_id] = now + lease_ms
            return run.claim()
        while self._claims and (oldest := next(iter(self._claims))) and self._claims[oldest][0] <= now:
            del self._claims[oldest]
        line_now = self._line_now()
        due = [line[0] for line in map(self._line, agents) if line and line[0][0] <= line_now]
        if not due:
            return None
        run = self._runs[min(due)[1]]
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
        check_duration("lease_ms", lease_ms)
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
        if run and run.state == end.state and repeats(run, batch, run.token):
            return run.answer(Code.DUP)
        if run and end.state == "completed" and self._would_lose_signals(run, batch):
            return run.answer(Code.WAITING)
        if run and end.session not in (None, run.session) and self._next(run, batch):
            raise PlayheadError(f"run {batch.run_id} is not of the session {end.session!r}")
        answer = self._append(batch)
        if run is None or answer.code is not Code.OK:
            return not_ended(answer)
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
        check_pause(interrupts)
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
        check_count("limit", limit, least=1)
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
        check_duration("ttl_ms", ttl_ms)
        self._workers[worker.worker] = (self._now() + ttl_ms, worker)

    async def retire(self, worker: str) -> None:
        """See `Log.retire`."""
        self._workers.pop(worker, None)

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """See `Log.wait_for_work`. Wakes at once for what came before the call."""
        line_now = self._line_now()
        due = any(line[0][0] <= line_now for line in map(self._line, agents) if line)
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


def _passed(times: Mapping[str, int], now: int, limit: int) -> list[str]:
    """The keys whose time is before `now`, the oldest first."""
    passed = ((time, key) for key, time in times.items() if time < now)
    return [key for _, key in heapq.nsmallest(limit, passed)]
