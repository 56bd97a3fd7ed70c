"""The state that the log's rules act on: runs, their queues, and definitions; `rules_sessions` has the sessions. Pure."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal, NamedTuple

from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.metadata import Metadata
from playhead.runtime.core.records import ENDED_STATES, RunStateName
from playhead.runtime.log.queues import own_queue
from playhead.runtime.log.values import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    EncodedEntry,
    NewRun,
    RunInfo,
    WriteResult,
    WriteStatus,
    is_suspect,
)

__all__ = ["Definitions", "LogDefinition", "LogRun", "RunQueue", "Steer", "first_of", "passed"]


class Steer(NamedTuple):
    """A prompt that was submitted as a steer to a run; it becomes the run `new` if that run ends without receiving it.

    `signal` is the steer, encoded; `deadline` that of `new`, unix milliseconds.
    """

    signal: bytes
    new: NewRun
    deadline: int | None


@dataclass(slots=True)
class LogRun:
    """One run. `records[seq - 1]` is the encoded record `seq`, so the head is their number.

    Attributes:
        starts: For each epoch the number of its first record: every ownership begins with its `run.claimed`.
        token: The present owner's. `finish` leaves it, so that a repeated `finish` is recognised; a run that was failed,
            released or paused has none.
        released: The token of the last owner that released or paused the run, and the head it left, so that a repeat is
            recognised.
        silent: The token of the last owner, if the run was taken from it because it was silent.
        crash_streak: The owners that died one after the other since the run last got on.
        crash_end: How the process of the last of them ended; empty if that is not known.
        idle_owners: The owners that ended in any way since the run last got on.
        inbox: Encoded signals that no owner has acknowledged, oldest first.
        signal_ids: The ids of all signals ever sent to the run.
        due: Until when the run waits before it may be claimed, unix milliseconds; None if it need not.
        open_interrupts: The ids of the interrupts without a response.
        children: The runs that this run started, which end with it.
        cancel: The last cancel sent while the run had an owner, encoded, and the records that end the run if no owner
            takes that signal in. Of a child, first that for the end of its parent.
        steers: The prompts that were submitted as steers to it, in order.
        definitions: The digests of the definitions that its `run.claimed` name.
        framework: The framework with which its first owner that has one runs it; None without one.
        position: Its place in the list of all runs, in microseconds.
    """

    run_id: str
    agent: str
    session: str | None
    created: int
    updated: int
    records: list[bytes]
    starts: list[int] = field(default_factory=lambda: [1])
    state: RunStateName = "queued"
    token: str | None = None
    released: tuple[str, int] | None = None
    silent: str | None = None
    crashes: int = 0
    crash_streak: int = 0
    crash_end: str = ""
    idle_owners: int = 0
    handovers: int = 0
    errors: int = 0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS
    lease_ms: int = 0
    deadline: int | None = None
    due: int | None = None
    worker: str | None = None
    expires: int | None = None
    inbox: list[bytes] = field(default_factory=list[bytes])
    signal_ids: set[str] = field(default_factory=set[str])
    open_interrupts: set[str] = field(default_factory=set[str])
    cancel: tuple[bytes, Sequence[bytes]] | None = None
    children: list[str] = field(default_factory=list[str])
    steers: list[Steer] = field(default_factory=list[Steer])
    definitions: list[str] = field(default_factory=list[str])
    framework: str | None = None
    metadata: Metadata = field(default_factory=dict[str, str | int | float | bool])
    position: int = 0

    @classmethod
    def imported(cls, info: RunInfo, entries: Sequence[EncodedEntry], *, retention_ms: int) -> LogRun:
        """Make the run that `info` describes, with these records from 1 on."""
        starts = [
            next((seq for seq, of, _ in entries if of >= epoch), info.head + 1) for epoch in range(info.epoch + 1)
        ]
        return cls(
            info.run_id,
            info.agent,
            info.session,
            created=info.created,
            updated=info.updated,
            records=[data for _, _, data in entries],
            starts=starts,
            state=info.state,
            crashes=info.crashes,
            handovers=info.handovers,
            errors=info.errors,
            deadline=info.deadline,
            worker=info.worker,
            retention_ms=retention_ms,
            metadata=info.metadata,
        )

    @property
    def epoch(self) -> int:
        """The ordinal of the last ownership, 0 before the first."""
        return len(self.starts) - 1

    @property
    def head(self) -> int:
        """The number of the last record."""
        return len(self.records)

    @property
    def ended(self) -> bool:
        """Whether the run has a terminal record."""
        return self.state in ENDED_STATES

    @property
    def own_queue(self) -> str | None:
        """The queue for its framework; None without one."""
        return None if self.framework is None else own_queue(self.agent, self.framework)

    @property
    def is_suspect(self) -> bool:
        """Whether the run may be held only by a worker that holds no other."""
        return is_suspect(self.crash_streak, crash_limit=self.crash_limit)

    def write(self, batch: Batch) -> None:
        """Store the records, and drop the signals that they acknowledge."""
        self.records.extend(batch.records)
        if batch.ack:
            del self.inbox[: batch.ack]

    def fence(self, batch: Batch, *, next_state: RunStateName | Literal["released"]) -> WriteStatus:
        """Whether the batch may be stored: OK if its writer is the owner and knows the head.

        `next_state` is the state in which the write leaves the run, "released" for release and pause: by it a repeat of
        a write that was stored is recognised, and is DUP.
        """
        owned = self.is_owner(batch.token)
        if owned and self.head == batch.head:
            return WriteStatus.OK
        left = (self.token, self.head) if self.state == next_state else None
        if next_state == "released":
            left = self.released
        if left == (batch.token, batch.head + len(batch.records)):
            return WriteStatus.DUP
        return WriteStatus.CONFLICT if owned else WriteStatus.FENCED

    def is_owner(self, token: str) -> bool:
        """Whether `token` is the present owner's."""
        return self.state == "running" and self.token == token

    def result(self, status: WriteStatus) -> WriteResult:
        """The result of a write."""
        return WriteResult(status, len(self.records), len(self.inbox))

    def claim(self, token: str) -> Claim:
        """The claim that the owner with `token` receives."""
        return Claim(
            run_id=self.run_id,
            token=token,
            epoch=self.epoch,
            head=self.head,
            agent=self.agent,
            session=self.session,
            crashes=self.crashes,
            inbox=len(self.inbox),
            crash_streak=self.crash_streak,
            idle_owners=self.idle_owners,
            crash_end=self.crash_end,
        )

    def info(self) -> RunInfo:
        """The run's present state, as `Log.info` gives it."""
        return RunInfo(
            run_id=self.run_id,
            state=self.state,
            agent=self.agent,
            session=self.session,
            head=self.head,
            epoch=self.epoch,
            crashes=self.crashes,
            created=self.created,
            updated=self.updated,
            worker=self.worker,
            handovers=self.handovers,
            errors=self.errors,
            deadline=self.deadline,
            metadata=self.metadata,
            due=self.due if self.state == "queued" else None,
        )


class RunQueue:
    """Runs that wait for an owner, by queue (see `queues_of`), in the order in which they were queued.

    Positions grow, and each is given once over all queues, so exactly one run is the first. A run that waits has the
    position of the time, in microseconds, at which it is due; it is in the queue from then on only.
    """

    def __init__(self) -> None:
        self._queues: dict[str, OrderedDict[str, int]] = {}  # name -> run id -> position; a dict is slow at its front
        self._due: dict[str, dict[str, int]] = {}  # the same for the runs that wait

    def put(self, run_id: str, name: str, *, position: int) -> None:
        """Queue a run after every run that was queued before it: `position` is above theirs."""
        self._queues.setdefault(name, OrderedDict())[run_id] = position

    def put_due(self, run_id: str, name: str, *, position: int) -> None:
        """Queue a run that waits until the time of its position."""
        self._due.setdefault(name, {})[run_id] = position

    def drop(self, run_id: str, name: str) -> None:
        """Remove a run, if it is in the queue or waits for it."""
        self._due.get(name, {}).pop(run_id, None)
        if queue := self._queues.get(name):
            queue.pop(run_id, None)
            if not queue:
                del self._queues[name]

    def merge(self, name: str, into: str) -> bool:
        """Move all runs of a queue to another one, where they have the same positions. Returns whether there were any."""
        queue, due = self._queues.pop(name, None), self._due.pop(name, None)
        if queue:
            every = {**self._queues.get(into, {}), **queue}
            self._queues[into] = OrderedDict(sorted(every.items(), key=itemgetter(1)))
        self._due.setdefault(into, {}).update(due or {})
        return bool(queue or due)

    def first(self, names: Iterable[str], *, now: int, only: str | None = None) -> tuple[str, int] | None:
        """The run that a worker gets next from these queues, and its position; `now` is the present in unix milliseconds.

        With `only` it is this run, if it is in one of them and due.
        """
        wanted = list(names)
        if only is not None:
            here = [queue[only] for name in wanted if only in (queue := self._queues.get(name, {}))]
            due = [waits[only] for name in wanted if only in (waits := self._due.get(name, {}))]
            place = next(iter([*here, *(one for one in due if one <= now * 1000)]), None)
            return None if place is None else (only, place)
        queues = [self._queues[name] for name in wanted if name in self._queues]  # none of them is empty
        found = [next(iter(queue.items())) for queue in queues]
        for name in wanted:
            found += [one for one in self._due.get(name, {}).items() if one[1] <= now * 1000]
        return min(found, key=itemgetter(1), default=None)

    def all(self) -> dict[str, list[str]]:
        """The runs of every queue, in order, with those that wait."""
        queues = {name: {**self._queues.get(name, {}), **self._due.get(name, {})} for name in self._names()}
        return {name: sorted(runs, key=runs.__getitem__) for name, runs in queues.items() if runs}

    def _names(self) -> list[str]:
        return list({**self._queues, **self._due})


@dataclass(slots=True)
class LogDefinition:
    """The definition of an agent, encoded: how many runs that have not ended name it, and until when ended ones do."""

    data: bytes
    live: int = 0
    kept_until: int = 0


class Definitions:
    """All definitions, by digest. One is kept as long as a run that names it, and no longer."""

    def __init__(self) -> None:
        self.all: dict[str, LogDefinition] = {}
        self._expiring: list[tuple[int, str]] = []  # heap of (when, digest)

    def name(self, run: LogRun, definition: StoredDefinition) -> None:
        """Note that a claim of the run names the definition, and store it if it is missing."""
        if definition.digest not in run.definitions:
            run.definitions.append(definition.digest)
            self.all.setdefault(definition.digest, LogDefinition(definition.data)).live += 1

    def end(self, run: LogRun, *, until: int) -> None:
        """Note that the run has ended and is kept until `until`."""
        for digest in run.definitions:
            named = self.all[digest]
            named.live -= 1
            named.kept_until = max(named.kept_until, until)
            heapq.heappush(self._expiring, (named.kept_until, digest))

    def sweep(self, now: int) -> None:
        """Forget the definitions that no run names."""
        while self._expiring and self._expiring[0][0] <= now:
            _, digest = heapq.heappop(self._expiring)
            named = self.all.get(digest)
            if named is not None and not named.live and named.kept_until <= now:
                del self.all[digest]


def first_of(queues: Iterable[RunQueue], names: Collection[str], *, now: int, only: str | None = None) -> str | None:
    """The run that a worker gets next from the queues of these names; `now` is the present in unix milliseconds.

    With `only` it is this run, if it is in a queue and due, whatever is before it.
    """
    found = [first for queue in queues if (first := queue.first(names, now=now, only=only)) is not None]
    return min(found, key=itemgetter(1))[0] if found else None


def passed(times: Mapping[str, int], now: int, *, limit: int) -> list[str]:
    """The keys whose time is before `now`, the oldest first, `limit` at most."""
    return [key for _, key in heapq.nsmallest(limit, ((time, key) for key, time in times.items() if time < now))]
