"""The states of all runs, and the steps from one to the next that several calls share, as `run_states.lua` has them. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.listing import first_position
from playhead.runtime.log.rules_sessions import Sessions
from playhead.runtime.log.rules_state import Definitions, LogRun, RunQueue
from playhead.runtime.log.values import Batch, NewRun, WriteResult, WriteStatus

__all__ = ["Notifications", "RunQueued", "RunSignalled", "RunStates"]


class RunQueued(NamedTuple):
    """A run was queued: a worker that claims from `queue` may claim it."""

    queue: str


class RunSignalled(NamedTuple):
    """A signal was sent to the run `run_id`, which `worker` owns."""

    worker: str
    run_id: str


Notifications = Sequence[RunQueued | RunSignalled]
"""A notification for workers that follows from a call. Only a hint: no run is lost without it."""


class RunStates:
    """All runs, and the queues, sessions and leases that depend on their states.

    Attributes:
        runs: By id, in the order of their submission.
        queue: The runs that wait for an owner.
        suspects: Those of them that wait for a worker that holds no other run.
        serving: Queue of a framework → worker with it → when its announcement expires.
        emptying: The worker that hands its runs over to take one of them, and until when.
        sessions: The conversations, and the runs that wait for one.
        leases: Run id → until when its owner must renew.
        deadlines: Run id → when it is failed, for runs that have a deadline and have not ended.
        definitions: The definitions of the agents that the runs were claimed for.
        steered: The id of a run that was not made, because a run got its prompt as a steer → until when this is known,
            and that run.
    """

    def __init__(self) -> None:
        self.runs: dict[str, LogRun] = {}
        self.queue: RunQueue = RunQueue()
        self.suspects: RunQueue = RunQueue()
        self.serving: dict[str, dict[str, int]] = {}
        self.emptying: tuple[str, int] | None = None
        self.sessions: Sessions = Sessions()
        self.definitions: Definitions = Definitions()
        self.leases: dict[str, int] = {}
        self.deadlines: dict[str, int] = {}
        self.steered: dict[str, tuple[int, str]] = {}
        self._position = 0  # the last position that was given, in microseconds or above them
        self._expiring: list[tuple[int, str]] = []  # heap of (when, run id)

    def next_position(self, now: int) -> int:
        """A position above all that were given: the present in microseconds, or the next one."""
        self._position = max(now * 1000, self._position + 1)
        return self._position

    def position_at(self, created: int) -> int:
        """The place in the list of a run that was submitted elsewhere, at that time."""
        taken = {run.position for run in self.runs.values()}
        return next(position for position in itertools.count(first_position(created)) if position not in taken)

    def create(self, new: NewRun, *, deadline: int | None, now: int) -> LogRun:
        """Make a queued run of its record 1, in no queue yet; `deadline` is a time, unix milliseconds."""
        run = LogRun(new.run_id, new.agent, new.session, created=now, updated=now, records=[new.data])
        run.metadata, run.position = new.metadata, self.next_position(now)
        self.runs[new.run_id] = run
        if deadline is not None:
            run.deadline = self.deadlines[new.run_id] = deadline
        return run

    def holder(self, session: str | None) -> LogRun | None:
        """The run that holds the session; None if it is free, or None."""
        held = self.sessions.all.get(session) if session is not None else None
        return self.runs[held.holder] if held is not None and held.holder is not None else None

    def put_signal(
        self, run: LogRun, signal_id: str, stored: bytes, *, ending: Sequence[bytes], now: int
    ) -> Notifications:
        """Put a signal into a run's inbox; `ending` are the records that end the run if it has no owner, or none receives it."""
        run.signal_ids.add(signal_id)
        if ending and run.state != "running":
            return self.end_cancelled(run, ending, now=now)
        run.inbox.append(stored)
        if ending:
            run.cancel = stored, ending
        return () if run.worker is None else [RunSignalled(run.worker, run.run_id)]

    def enqueue(self, run: LogRun, *, now: int) -> Notifications:
        """Put a run at the end of its queue; or, if it waits until a later time, at the place that it has then."""
        queue = self.suspects if run.is_suspect else self.queue
        own = run.own_queue
        name = own if own is not None and self.has_worker(own, now=now) else run.agent
        if run.due is not None:
            queue.put_due(run.run_id, name, position=run.due * 1000)
            return ()
        queue.put(run.run_id, name, position=self.next_position(now))
        return [RunQueued(name)]

    def has_worker(self, queue: str, *, now: int) -> bool:
        """Whether a worker with the framework of this queue is alive."""
        return any(until > now for until in self.serving.get(queue, {}).values())

    def stop_serving(self, queue: str, worker: str) -> None:
        """Note that a worker does not claim from the queue of a framework now."""
        workers = self.serving.get(queue, {})
        workers.pop(worker, None)
        if not workers:
            self.serving.pop(queue, None)

    def drop(self, run: LogRun) -> None:
        """Take a run out of its queue, if it is in one."""
        for queue in (self.queue, self.suspects):
            for name in (run.agent, run.own_queue):
                if name is not None:
                    queue.drop(run.run_id, name)

    def append_and_release(self, batch: Batch) -> tuple[LogRun | None, WriteResult]:
        """Store the owner's last records and end its ownership. Returns the run if this call did so, and the result."""
        run = self.runs.get(batch.run_id)
        if run is None:
            return None, WriteResult(WriteStatus.GONE)
        status = run.fence(batch, next_state="released")
        if status is not WriteStatus.OK:
            return None, run.result(status)
        run.write(batch)
        run.token, run.released = None, (batch.token, run.head)
        return run, run.result(WriteStatus.OK)

    def requeue(self, run: LogRun, *, now: int) -> Notifications:
        """Take the run from its owner and queue it, or end it if its owner did not receive a cancel."""
        self.leases.pop(run.run_id, None)
        run.state, run.token, run.worker, run.updated = "queued", None, None, now
        if run.cancel is not None and run.cancel[0] in run.inbox:
            return self.end_cancelled(run, run.cancel[1], now=now)
        return self.enqueue(run, now=now)

    def take_from_owner(self, run: LogRun, *, ended: str, now: int) -> Notifications:
        """Queue the run again, and count a crash until its owner, recognised by its token, makes another call."""
        run.crashes += 1
        run.crash_streak += 1
        run.idle_owners += 1
        run.silent, run.crash_end = None if ended else run.token, ended
        if run.own_queue is not None and run.worker is not None:
            self.stop_serving(run.own_queue, run.worker)
        return self.requeue(run, now=now)

    def end_cancelled(self, run: LogRun, records: Sequence[bytes], *, now: int) -> Notifications:
        """End a run as cancelled, with these records."""
        run.records.extend(records)
        return self.end_run(run, "cancelled", retention_ms=run.retention_ms, now=now)

    def fail(self, run: LogRun, record: bytes, *, now: int) -> Notifications:
        """End a run as failed, with this record."""
        run.records.append(record)
        run.token = None  # else its owner's `finish` would be taken for a repeat
        return self.end_run(run, "failed", retention_ms=run.retention_ms, now=now)

    def end_run(self, run: LogRun, state: RunStateName, *, retention_ms: int, now: int) -> Notifications:
        """End a run, and give its session to the next one."""
        self.leases.pop(run.run_id, None)
        self.deadlines.pop(run.run_id, None)
        self.drop(run)
        run.state, run.updated = state, now
        self._queue_steers(run, now=now)
        run.inbox.clear()
        until = now + retention_ms
        self.keep_until(run, until)
        self.definitions.end(run, until=until)
        notifications: list[RunQueued | RunSignalled] = []
        if run.session is not None:
            position = self.next_position(now)
            follower = self.sessions.leave(run.session, run.run_id, now=now, until=until, position=position)
            notifications += () if follower is None else self.enqueue(self.runs[follower], now=now)
        for child in run.children:
            notifications += self._parent_ended(child, now=now)
        return notifications

    def _parent_ended(self, run_id: str, *, now: int) -> Notifications:
        """Cancel a child, unless it has ended: at once without an owner, else by a signal to it."""
        run = self.runs.get(run_id)
        if run is None or run.ended or run.cancel is None or run.cancel[0] in run.inbox:
            return ()
        if run.state != "running":
            return self.end_cancelled(run, run.cancel[1], now=now)
        run.inbox.append(run.cancel[0])
        return () if run.worker is None else [RunSignalled(run.worker, run_id)]

    def _queue_steers(self, run: LogRun, *, now: int) -> None:
        """Make runs of the steers that the run did not receive, before those that wait for its session."""
        left = [steer for steer in run.steers if steer.signal in run.inbox and steer.new.run_id not in self.runs]
        run.steers.clear()
        for steer in left:
            self.create(steer.new, deadline=steer.deadline, now=now)
            del self.steered[steer.new.run_id]
        if left and run.session is not None:
            self.sessions.all[run.session].waiting.extendleft(steer.new.run_id for steer in reversed(left))

    def sweep(self, now: int) -> None:
        """Remove the runs, sessions and definitions whose retention is over."""
        self.steered = {new: held for new, held in self.steered.items() if held[0] > now}
        while self._expiring and self._expiring[0][0] <= now:
            when, run_id = heapq.heappop(self._expiring)
            if (run := self.runs.get(run_id)) and run.expires == when:
                del self.runs[run_id]
        self.sessions.sweep(now)
        self.definitions.sweep(now)

    def keep_until(self, run: LogRun, when: int) -> None:
        """Remove an ended run at `when`."""
        run.expires = when
        heapq.heappush(self._expiring, (when, run.run_id))
