"""The log in this process: the semantics of the Redis log with nothing to install, for one event loop.

`rules` decides; this module adds the impure parts: the clock, the encoding, and the workers that wait
(`memory_waiters`). No method awaits between the rules' decision and its notifications, so each is atomic on its loop, as a script is on the
server. Records are kept as bytes and decoded when read, so every backend tests the same encoding.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from playhead.runtime.core.agent_state import packed_state
from playhead.runtime.core.checks import check_count, check_duration
from playhead.runtime.core.codec import decode_stored, pack, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.records import Entry, RunStateName
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.session import BeganFrom, StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.arguments import check_claim, check_cut, check_new_session, check_pause, check_signal
from playhead.runtime.log.endings import cancel_ending, deadline_failure, parent_ended
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage, page_of
from playhead.runtime.log.memory_waiters import Waiters
from playhead.runtime.log.rules import Rules
from playhead.runtime.log.rules_run_states import Notifications
from playhead.runtime.log.values import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    EncodedEntry,
    ImportedRun,
    LeaseInfo,
    NewRun,
    Renewal,
    RunEnd,
    RunInfo,
    SessionInfo,
    WorkerInfo,
    WriteResult,
)

__all__ = ["MemoryLog"]

T = TypeVar("T")


def _wall_clock() -> Callable[[], int]:
    """Unix milliseconds that never go back in this process."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: (offset + time.monotonic_ns()) // 1_000_000


class MemoryLog:
    """A `Log` that exists as long as this object. Use it from one event loop only.

    Args:
        clock: Returns the present in milliseconds, which leases, deadlines and retention use. Defaults to unix time that
            does not jump. `wait_for_work` always waits in real time.
    """

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or _wall_clock()
        self._rules = Rules()
        self._workers: dict[str, tuple[int, WorkerInfo]] = {}  # name -> (expiry, announcement)
        self._waiters = Waiters(self._rules)

    @property
    def rules(self) -> Rules:
        """The rules and their state, which is the content of the log. For tests, to inspect and to damage it."""
        return self._rules

    def _now(self) -> int:
        """Remove everything whose retention is over, and return the present."""
        now = self._clock()
        self._rules.sweep(now)
        return now

    def _notify(self, outcome: tuple[T, Notifications]) -> T:
        """Wake the workers that the call concerns, and return its answer."""
        answer, notifications = outcome
        self._waiters.notify(notifications)
        return answer

    # ------------------------------------------------------------------ clients

    async def submit(self, run: NewRun) -> bool:
        """See `Log.submit`."""
        signal = run.as_signal("cancel")
        cancel = (pack(asdict(signal)), cancel_ending(signal)) if run.if_busy == "cancel" else None
        return self._notify(self._rules.submit(run, cancel=cancel, end=parent_ended(run), now=self._now()))

    async def submit_or_steer(self, run: NewRun) -> str:
        """See `Log.submit_or_steer`."""
        return self._notify(self._rules.submit_or_steer(run, pack(asdict(run.as_signal("steer"))), now=self._now()))

    async def import_run(self, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]) -> bool:
        """See `Log.import_run`. Raises `EncodingError` if a message is not plain data."""
        messages = [pack(message) for message in run.messages]
        entries = [entry async for page in records for entry in page]
        state = packed_state(run.agent_state)
        return self._notify(self._rules.import_run(run, entries, messages, agent_state=state, now=self._now()))

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        """See `Log.signal`. Raises `EncodingError` if the signal's body is not plain data."""
        check_signal(signal)
        stored, ending = pack(asdict(signal)), cancel_ending(signal)
        return self._notify(self._rules.signal(run_id, signal, stored, ending=ending, now=self._now()))

    async def delete_run(self, run_id: str) -> RunStateName | None:
        """See `Log.delete_run`."""
        self._now()
        return self._rules.delete_run(run_id)

    async def adopt(self, run_ids: Sequence[str]) -> list[str]:
        """See `Log.adopt`: no lease can be missing."""
        return []

    async def refusal(self) -> str | None:
        """See `Log.refusal`: it accepts all writes."""
        return None

    async def inbox(self, run_id: str) -> list[Signal]:
        """See `Log.inbox`."""
        run = self._rules.runs.get(run_id)
        return [Signal(**unpack(stored)) for stored in run.inbox] if run else []

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`."""
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """See `Log.read_segments`."""
        check_count("after", after)
        check_count("limit", limit, least=1)
        return list(self._segments(run_id, after + 1, after + limit))

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        """See `Log.read_encoded`."""
        check_count("after", after)
        check_count("limit", limit, least=1)
        return [
            EncodedEntry(seq, epoch, data)
            for first, epoch, records in self._owned(run_id, after + 1, after + limit)
            for seq, data in enumerate(records, first)
        ]

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        check_count("before", before)
        check_count("limit", limit, least=1)
        run = self._rules.runs.get(run_id)
        last = min(before - 1, run.head) if run else 0
        found = self._segments(run_id, max(1, last - limit + 1), last)
        return [entry for segment in found for entry in segment.entries()][::-1]

    def _segments(self, run_id: str, first: int, last: int) -> Iterator[Segment]:
        for start, epoch, records in self._owned(run_id, first, last):
            yield Segment(start, epoch, [decode_stored(data) for data in records])

    def _owned(self, run_id: str, first: int, last: int) -> Iterator[tuple[int, int, list[bytes]]]:
        """The run's records from `first` to `last`, as far as they exist: by owner, each with its first number."""
        self._now()
        run = self._rules.runs.get(run_id)
        if run is None:
            return
        last = min(last, run.head)
        for epoch, (start, end) in enumerate(itertools.pairwise([*run.starts, last + 1])):
            start, end = max(start, first), min(end, last + 1)
            if start < end:
                yield start, epoch, run.records[start - 1 : end - 1]

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`."""
        self._now()
        run = self._rules.runs.get(run_id)
        return run.info() if run else None

    async def lease(self, run_id: str) -> LeaseInfo | None:
        """See `Log.lease`."""
        now = self._now()
        return self._rules.lease(run_id, now=now)

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        """See `Log.runs`."""
        check_count("limit", limit, least=1)
        self._now()
        listed = [ListedRun(Place(run.position, run.run_id), run.info()) for run in self._rules.runs.values()]
        return page_of(listed, filters, limit=limit, after=after)

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """See `Log.find_ids`."""
        check_count("limit", limit, least=1)
        self._now()
        return sorted(run_id for run_id in self._rules.runs if run_id.startswith(beginning))[:limit]

    async def run_pages(self) -> AsyncGenerator[list[RunInfo], None]:
        """See `Log.run_pages`."""
        yield await self.runs(limit=max(1, len(self._rules.runs)))

    async def messages(self, session: str) -> list[Message]:
        """See `Log.messages`."""
        return list((await self.stored_messages(session)).messages)

    async def stored_messages(self, session: str) -> StoredMessages:
        """See `Log.stored_messages`."""
        self._now()
        found = self._rules.sessions.all.get(session)
        if found is None:
            return StoredMessages(0, [])
        state = None if found.agent_state is None else unpack(found.agent_state)
        return StoredMessages(found.cut, [unpack(data) for data in found.messages], state)

    async def agent_state(self, session: str) -> dict[str, Any]:
        """See `Log.agent_state`."""
        return dict((await self.stored_messages(session)).agent_state or {})

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        """See `Log.history`."""
        self._now()
        run = self._rules.runs.get(run_id)
        if run is None or run.session is None:
            return []
        return (await self.stored_messages(run.session)).part(began)

    async def session_info(self, session: str) -> SessionInfo | None:
        """See `Log.session_info`."""
        self._now()
        found = self._rules.sessions.all.get(session)
        return found.info(session) if found and (found.messages or found.holder) else None

    async def sessions(self, *, limit: int = 50, before: tuple[int, str] | None = None) -> list[SessionInfo]:
        """See `Log.sessions`."""
        check_count("limit", limit, least=1)
        self._now()
        return self._rules.sessions.listed(before=before, limit=limit)

    async def cut_session(self, session: str, *, upto: int | None) -> bool:
        """See `Log.cut_session`."""
        check_cut(session, upto)
        self._now()
        return self._rules.cut_session(session, upto=upto)

    async def store_session(
        self, session: str, messages: Sequence[Message], *, agent_state: Mapping[str, Any] | None = None
    ) -> bool:
        """See `Log.store_session`. Raises `EncodingError` if a message is not plain data."""
        check_new_session(session, messages)
        packed, state = [pack(message) for message in messages], packed_state(agent_state)
        return self._rules.store_session(session, packed, agent_state=state, now=self._now())

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        """See `Log.definition`."""
        found = await self.stored_definition(run_id, digest)
        return AgentDefinition.of(found.data) if found else None

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        """See `Log.stored_definition`."""
        self._now()
        found = self._rules.definitions.all.get(digest)
        return StoredDefinition(digest, found.data) if found else None

    async def holder(self, session: str) -> str | None:
        """See `Log.holder`."""
        self._now()
        found = self._rules.sessions.all.get(session)
        return found.holder if found else None

    async def workers(self) -> list[WorkerInfo]:
        """See `Log.workers`."""
        now = self._now()
        self._workers = {name: held for name, held in self._workers.items() if held[0] > now}
        return [info for _, info in self._workers.values()]

    # ------------------------------------------------------------------ workers

    async def check(self) -> list[str]:
        """See `Log.check`: this log needs no server, so there is nothing to refuse."""
        return []

    async def claim(
        self,
        agents: Mapping[str, bytes],
        *,
        worker: str,
        token: str,
        lease_ms: int,
        crash_limit: int = DEFAULT_CRASH_LIMIT,
        retention_ms: int = DEFAULT_RETENTION_MS,
        retentions: Mapping[str, int] | None = None,
        definitions: Mapping[str, StoredDefinition] | None = None,
        frameworks: Mapping[str, str] | None = None,
        suspects: bool = True,
        run_id: str | None = None,
    ) -> Claim | None:
        """See `Log.claim`."""
        check_claim(
            agents,
            frameworks=frameworks or {},
            worker=worker,
            token=token,
            lease_ms=lease_ms,
            crash_limit=crash_limit,
            retention_ms=retention_ms,
            retentions=retentions or {},
            run_id=run_id,
        )
        return self._rules.claim(
            agents,
            suspects=suspects,
            run_id=run_id,
            worker=worker,
            token=token,
            lease_ms=lease_ms,
            crash_limit=crash_limit,
            retention_ms=retention_ms,
            retentions=retentions or {},
            definitions=definitions or {},
            frameworks=frameworks or {},
            now=self._now(),
        )

    async def append(self, batches: Sequence[Batch]) -> list[WriteResult]:
        """See `Log.append`."""
        self._now()
        return [self._rules.append(batch) for batch in batches]

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        """See `Log.renew`."""
        check_duration("lease_ms", lease_ms)
        return self._rules.renew(owned, lease_ms=lease_ms, now=self._now())

    async def finish(self, end: RunEnd) -> WriteResult:
        """See `Log.finish`. Raises `EncodingError` before anything is changed if a message is not plain data."""
        messages = [pack(message) for message in end.messages]
        state = packed_state(end.agent_state)
        return self._notify(self._rules.finish(end, messages, agent_state=state, now=self._now()))

    async def release(self, batch: Batch, *, delay_ms: int = 0) -> WriteResult:
        """See `Log.release`."""
        check_count("delay_ms", delay_ms)
        return self._notify(self._rules.release(batch, now=self._now(), delay_ms=delay_ms))

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> WriteResult:
        """See `Log.pause`."""
        check_pause(interrupts)
        return self._notify(self._rules.pause(batch, interrupts, now=self._now()))

    async def reap(self, *, limit: int = 32) -> list[str]:
        """See `Log.reap`."""
        check_count("limit", limit, least=1)
        now = self._now()
        return self._notify(self._rules.reap(limit=limit, late=deadline_failure(), now=now))

    async def give_up(self, owned: Sequence[tuple[str, str]]) -> None:
        """See `Log.give_up`."""
        self._notify((None, self._rules.give_up(owned, now=self._now())))

    async def got_on(self, run_id: str, token: str) -> bool:
        """See `Log.got_on`."""
        self._now()
        return self._rules.got_on(run_id, token)

    async def bury(self, worker: str, *, ended: str) -> list[str]:
        """See `Log.bury`."""
        return self._notify(self._rules.bury(worker, ended=ended, now=self._now()))

    async def should_empty(self, queues: Sequence[str], *, worker: str, for_ms: int) -> bool:
        """See `Log.should_empty`."""
        check_duration("for_ms", for_ms)
        return self._rules.should_empty(queues, worker=worker, for_ms=for_ms, now=self._now())

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        """See `Log.announce`."""
        check_duration("ttl_ms", ttl_ms)
        self._workers[worker.worker] = (self._now() + ttl_ms, worker)
        self._rules.announce(worker, ttl_ms=ttl_ms, now=self._now())

    async def withdraw(self, worker: str) -> None:
        """See `Log.withdraw`."""
        self._workers.pop(worker, None)
        self._waiters.forget(worker)

    async def wait_for_work(self, queues: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """See `Log.wait_for_work`. Returns at once if there was work or a signal before the call."""
        return await self._waiters.wait(queues, worker=worker, timeout=timeout, now=self._now())
