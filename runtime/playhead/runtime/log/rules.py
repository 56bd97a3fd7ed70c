"""The dispatch rules of the log: the effect of each call on a run, and its answer. Pure.

The memory log is made of them, and the scripts must agree with them: a test calls both in any order and compares every
answer and the whole state. Each method does what the script of its name does on a server. Records, signals and messages
are bytes; the present, unix milliseconds, is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import InterruptNotOpenError, PlayheadError, SessionHeldError
from playhead.runtime.core.records import RunStateName
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.endings import ParentEnded
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.rules_run_states import Notifications, RunQueued, RunSignalled, RunStates
from playhead.runtime.log.rules_state import LogRun, Steer, first_of, passed
from playhead.runtime.log.values import (
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    EncodedEntry,
    ImportedRun,
    LeaseInfo,
    NewRun,
    Renewal,
    RunEnd,
    WorkerInfo,
    WriteResult,
    WriteStatus,
)

__all__ = ["Rules"]

_CLAIM_MEMO_MS: Final = 60_000
"""The least time for which a claim's token is kept: a late repeat must not claim a second run."""


Cancel = tuple[bytes, Sequence[bytes]]
"""A cancel, encoded, and the records that end a run if no owner receives it."""


def _deadline_of(new: NewRun, now: int) -> int | None:
    return None if new.deadline_ms is None else now + new.deadline_ms


class Rules(RunStates):
    """All runs and the effect of each call on them. A call makes all its changes or none.

    Attributes:
        claims: Token → until when it is kept, and the run that it claimed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[str, tuple[int, str]] = {}

    # ------------------------------------------------------------------ clients

    def submit(
        self, new: NewRun, *, cancel: Cancel | None = None, end: ParentEnded | None = None, now: int
    ) -> tuple[bool, Notifications]:
        """Create the run with record 1 and queue it, or let it wait for its session. Returns whether it is new.

        `cancel`, the signal and the records that end a run without its owner, is for the run that holds the session. `end` is
        how a child ends when its parent does.

        Raises:
            SessionHeldError: If a run holds the session, and the new one is to be refused then.
        """
        parent = None if new.parent is None else self.runs.get(new.parent)
        if new.run_id in self.runs or (new.parent is not None and (parent is None or parent.ended)):
            return False, ()
        holder = self.holder(new.session)
        if holder is not None and new.if_busy == "reject":
            raise SessionHeldError(new.session or "", holder.run_id, state=holder.state)
        run = self.create(new, deadline=_deadline_of(new, now), now=now)
        if parent is not None:
            parent.children.append(new.run_id)
            run.cancel = end
            if parent.deadline is not None:
                run.deadline = self.deadlines[new.run_id] = parent.deadline
        signalled: Notifications = ()
        if holder is not None and cancel is not None:
            signalled = self.put_signal(holder, new.run_id, cancel[0], ending=cancel[1], now=now)
        if new.session is not None:
            position = self.next_position(now)
            if not self.sessions.join(new.session, new.run_id, now=now, position=position):
                return True, signalled
        return True, [*signalled, *self.enqueue(run, now=now)]

    def submit_or_steer(self, new: NewRun, steer: bytes, *, now: int) -> tuple[str, Notifications]:
        """Put `steer`, a signal with the prompt, into the inbox of the run that holds the session; else submit the run.

        Returns the id of the run that has the prompt.
        """
        if new.run_id in self.runs:
            return new.run_id, ()
        if new.run_id in self.steered:
            return self.steered[new.run_id][1], ()
        holder = self.holder(new.session)
        if holder is None or holder.agent != new.agent or holder.cancel is not None:
            return new.run_id, self.submit(new, now=now)[1]
        holder.steers.append(Steer(steer, new, _deadline_of(new, now)))
        self.steered[new.run_id] = now + DEFAULT_RETENTION_MS, holder.run_id
        return holder.run_id, self.put_signal(holder, new.run_id, steer, ending=(), now=now)

    def import_run(
        self,
        run: ImportedRun,
        entries: Sequence[EncodedEntry],
        messages: Sequence[bytes],
        *,
        agent_state: bytes | None = None,
        now: int,
    ) -> tuple[bool, Notifications]:
        """Store a run whole, with its session of `messages`, and queue it if it has not ended. Returns whether it is new."""
        if run.info.run_id in self.runs:
            return False, ()
        until = now + run.retention_ms
        self.runs[run.info.run_id] = stored = LogRun.imported(run.info, entries, retention_ms=run.retention_ms)
        for definition in run.definitions:
            self.definitions.name(stored, definition)
        stored.position = self.position_at(stored.created) if stored.ended else self.next_position(now)
        if not stored.ended:
            stored.created = stored.updated = now
            if (session := run.info.session) is not None:
                place = {"cut": run.session_cut, "now": now, "position": self.next_position(now)}
                self.sessions.hold(session, messages, agent_state=agent_state, run_id=stored.run_id, **place)
            return True, self.enqueue(stored, now=now)
        self.keep_until(stored, until)
        self.definitions.end(stored, until=until)
        if run.info.session is not None:
            self.sessions.keep(run.info.session, messages, cut=run.session_cut, until=until)
        return True, ()

    def delete_run(self, run_id: str) -> RunStateName | None:
        """Delete a run if it has ended. Returns the state that it had; None if the run does not exist."""
        run = self.runs.get(run_id)
        if run is None:
            return None
        if run.ended:
            del self.runs[run_id]
        return run.state

    def signal(
        self, run_id: str, signal: Signal, stored: bytes, *, ending: Sequence[bytes], now: int
    ) -> tuple[RunStateName | None, Notifications]:
        """Put a signal, encoded as `stored`, into a run's inbox; a response also queues a paused run again.

        `ending` are the records by which a cancel ends a run without an owner; empty for every other signal. They are
        written now if the run has no owner, and kept while it has one that has not taken the cancel in.

        Returns:
            The run's state; None if the run does not exist. A signal sent twice, or to an ended run, changes nothing.

        Raises:
            InterruptNotOpenError: If it responds to an interrupt that is not open.
        """
        run = self.runs.get(run_id)
        if run is None:
            return None, ()
        if run.ended or signal.signal_id in run.signal_ids:
            return run.state, ()
        if refused := [interrupt for interrupt in signal.responds_to if interrupt not in run.open_interrupts]:
            raise InterruptNotOpenError(run_id, refused)
        signalled = self.put_signal(run, signal.signal_id, stored, ending=ending, now=now)
        run.open_interrupts.difference_update(signal.responds_to)
        if run.state == "paused" and signal.responds_to:
            run.state, run.updated = "queued", now
            return run.state, self.enqueue(run, now=now)
        return run.state, signalled

    # ------------------------------------------------------------------ sessions

    def cut_session(self, session: str, *, upto: int | None) -> bool:
        """Cut the session's messages up to number `upto`, or all. Returns whether it has any.

        Raises:
            SessionHeldError: If a run holds it.
        """
        if (holder := self.holder(session)) is not None:
            raise SessionHeldError(session, holder.run_id, state=holder.state)
        return self.sessions.cut(session, upto=upto)

    def store_session(
        self, session: str, messages: Sequence[bytes], *, agent_state: bytes | None = None, now: int
    ) -> bool:
        """Make a session with these messages and this state. Returns False if it has messages or a run."""
        place = {"now": now, "position": self.next_position(now)}
        return self.sessions.store(session, messages, agent_state=agent_state, **place)

    # ------------------------------------------------------------------ owners

    def claim(
        self,
        agents: Mapping[str, bytes],
        *,
        suspects: bool,
        worker: str,
        token: str,
        lease_ms: int,
        crash_limit: int,
        retention_ms: int,
        retentions: Mapping[str, int],
        definitions: Mapping[str, StoredDefinition],
        now: int,
        frameworks: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> Claim | None:
        """Make `token` the owner's of the run that is first in the queue among `agents` (name → `run.claimed` record).

        `run_id`: only this run, if it is queued. `suspects`: a suspect, too, if it is before that run. The definition that `definitions` has of its agent is kept
        as long as the run. The framework that `frameworks` has of its agent stays the run's.

        The same token gives the same claim again while it owns the run, and its lease counts from the last call.
        """
        if memo := self.claims.get(token):
            run = self.runs.get(memo[1])
            if run is None or not run.is_owner(token):
                return None
        else:
            self._forget_claims(now)
            queues = [self.queue, self.suspects] if suspects else [self.queue]
            frameworks = frameworks or {}
            first = first_of(queues, queues_of(agents, frameworks), now=now, only=run_id)
            if first is None:
                return None
            run = self.runs[first]
            self.drop(run)
            run.starts.append(run.head + 1)
            run.records.append(agents[run.agent])
            run.state, run.token, run.worker, run.updated = "running", token, worker, now
            run.due = None
            run.framework = run.framework or frameworks.get(run.agent)
            run.crash_limit, run.lease_ms = crash_limit, lease_ms
            run.retention_ms = retentions.get(run.agent, retention_ms)
            if (definition := definitions.get(run.agent)) is not None:
                self.definitions.name(run, definition)
            self.claims[token] = now + max(lease_ms, _CLAIM_MEMO_MS), first
        self.leases[run.run_id] = now + lease_ms
        return run.claim(token)

    def lease(self, run_id: str, *, now: int) -> LeaseInfo | None:
        """The lease of the run's owner, if it has one."""
        ends = self.leases.get(run_id)
        return None if ends is None else LeaseInfo(now, ends, self.runs[run_id].lease_ms)

    def append(self, batch: Batch) -> WriteResult:
        """Store records directly after the head, for the owner only."""
        run = self.runs.get(batch.run_id)
        if run is None:
            return WriteResult(WriteStatus.GONE)
        status = run.fence(batch, next_state="running")
        if status is WriteStatus.OK:
            run.write(batch)
        return run.result(status)

    def renew(self, owned: Iterable[tuple[str, str]], *, lease_ms: int, now: int) -> list[Renewal]:
        """Extend the leases of the (run id, token) pairs whose token is still the owner's."""
        renewals: list[Renewal] = []
        for run_id, token in owned:
            run = self.runs.get(run_id)
            ours = run is not None and run.is_owner(token)
            if ours:
                self.leases[run_id] = now + lease_ms
            renewals.append(Renewal(ours=ours, inbox=len(run.inbox) if run else 0))
        return renewals

    def finish(
        self, end: RunEnd, messages: Sequence[bytes], *, agent_state: bytes | None = None, now: int
    ) -> tuple[WriteResult, Notifications]:
        """Store the last records, end the run, add `messages` to its session, and keep the agent's state there.

        Raises:
            PlayheadError: If `end.session` is not the run's.
        """
        batch, run = end.batch, self.runs.get(end.batch.run_id)
        if run is None:
            return WriteResult(WriteStatus.GONE), ()
        status = run.fence(batch, next_state=end.state)
        if status is WriteStatus.OK and end.state == "completed" and len(run.inbox) > batch.ack:
            status = WriteStatus.WAITING
        if status is not WriteStatus.OK:
            return run.result(status), ()
        if end.session not in (None, run.session):
            raise PlayheadError(f"run {batch.run_id} is not of the session {end.session!r}")
        run.write(batch)
        run.errors += end.state == "failed"
        if end.session is not None:
            session = self.sessions.all[end.session]
            session.messages.extend(messages)
            session.agent_state = session.agent_state if agent_state is None else agent_state
        notifications = self.end_run(run, end.state, retention_ms=end.retention_ms, now=now)
        return run.result(WriteStatus.OK), notifications

    def release(self, batch: Batch, *, now: int, delay_ms: int = 0) -> tuple[WriteResult, Notifications]:
        """Store the owner's last records, end its ownership and queue the run again, after `delay_ms` milliseconds."""
        run, result = self.append_and_release(batch)
        if run is None:
            return result, ()
        run.handovers += 1
        if delay_ms:
            run.due = now + delay_ms
        else:
            run.idle_owners += 1
        return result, self.requeue(run, now=now)

    def pause(self, batch: Batch, interrupts: Iterable[str], *, now: int) -> tuple[WriteResult, Notifications]:
        """Store the owner's last records, end its ownership and pause the run until one of `interrupts` has a response.

        If signals wait, a response to one of the interrupts may be among them: then the run is queued again, and its next
        owner takes them in.
        """
        run, result = self.append_and_release(batch)
        if run is None:
            return result, ()
        if run.inbox:
            return result, self.requeue(run, now=now)
        run.open_interrupts.update(interrupts)
        self.leases.pop(run.run_id, None)
        run.state, run.worker, run.updated = "paused", None, now
        return result, ()

    def give_up(self, owned: Iterable[tuple[str, str]], *, now: int) -> Notifications:
        """Queue the runs again that the owner with the token still owns, and take back a crash that it was counted as."""
        notifications: list[RunQueued | RunSignalled] = []
        for run_id, token in owned:
            run = self.runs.get(run_id)
            if run is None:
                continue
            if run.is_owner(token):
                run.idle_owners += 1
                notifications += self.requeue(run, now=now)
            elif run.silent == token:
                run.silent, run.crashes = None, run.crashes - 1
                run.crash_streak = max(0, run.crash_streak - 1)
        return notifications

    def got_on(self, run_id: str, token: str) -> bool:
        """Clear the run of the crashes and the idle owners before its owner, which has `token`."""
        run = self.runs.get(run_id)
        if run is None or not run.is_owner(token):
            return False
        run.crash_streak, run.idle_owners, run.silent, run.crash_end = 0, 0, None, ""
        return True

    # ------------------------------------------------------------------ time

    def reap(self, *, limit: int, late: bytes, now: int) -> tuple[list[str], Notifications]:
        """Fail up to `limit` runs past their deadline, then deal with those whose lease has expired, oldest first.

        Args:
            limit: How many at most.
            late: The record that ends a run past its deadline.
            now: The present.
        """
        notifications: list[RunQueued | RunSignalled] = []
        past: list[str] = []
        for run_id in passed(self.deadlines, now, limit=limit):
            if not self.runs[run_id].ended:  # else it is a child, and has ended with its parent
                notifications += self.fail(self.runs[run_id], late, now=now)
                past.append(run_id)
        expired = passed(self.leases, now, limit=limit - len(past))
        for run_id in expired:
            notifications += self.take_from_owner(self.runs[run_id], ended="", now=now)
        return past + expired, [*notifications, *self._merge_queues(now=now)]

    def _merge_queues(self, *, now: int) -> Notifications:
        """Move the runs that wait for a framework without a live worker to the queues of their agents."""
        notifications: list[RunQueued | RunSignalled] = []
        for queue in (self.queue, self.suspects):
            for name in queue.all():
                agent, _, framework = name.partition(":")
                if framework and not self.has_worker(name, now=now) and queue.merge(name, agent):
                    notifications.append(RunQueued(agent))
        return notifications

    def bury(self, worker: str, *, ended: str, now: int) -> tuple[list[str], Notifications]:
        """Take all runs from a worker whose process has ended; `ended` says how."""
        notifications: list[RunQueued | RunSignalled] = []
        taken = [run_id for run_id in sorted(self.leases) if self.runs[run_id].worker == worker]
        for run_id in taken:
            notifications += self.take_from_owner(self.runs[run_id], ended=ended, now=now)
        return taken, notifications

    def announce(self, worker: WorkerInfo, *, ttl_ms: int, now: int) -> None:
        """Note which queues of frameworks a worker claims from: none while it drains."""
        for queue in worker.own_queues:
            if worker.draining:
                self.stop_serving(queue, worker.worker)
                continue
            alive = {name: until for name, until in self.serving.get(queue, {}).items() if until > now}
            self.serving[queue] = {**alive, worker.worker: now + ttl_ms}

    def should_empty(self, queues: Iterable[str], *, worker: str, for_ms: int, now: int) -> bool:
        """Whether `worker` should hand its runs over, because a suspect waits for a worker that holds none."""
        if self.suspects.first(queues, now=now) is None:
            return False
        if self.emptying is not None and self.emptying[1] > now and self.emptying[0] != worker:
            return False
        self.emptying: tuple[str, int] | None = (worker, now + for_ms)
        return True

    def _forget_claims(self, now: int) -> None:
        while self.claims and self.claims[oldest := next(iter(self.claims))][0] <= now:
            del self.claims[oldest]
