"""The log interface, which every backend implements. One contract suite (`tests/contract`) tests all of them.

`Log` is several interfaces, one for each kind of caller: `LogReader` for tails and other readers, `LogSubmitter` for
clients that start and control runs, `SessionLog` for those that manage conversations, `LogOwner` for workers. All writes are safe to send twice: the second call returns
the first one's answer.

`DUP` is sound because every caller keeps three invariants: one writer per token; one write in flight per run; no retries
below this interface.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Mapping, Sequence
from typing import Any, Protocol

from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.records import Entry, RunStateName
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.session import BeganFrom, StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.listing import EVERY_RUN, Place, RunFilter, RunPage
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

__all__ = ["ClientLog", "ListedLog", "Log", "LogOwner", "LogReader", "LogSubmitter", "SessionLog"]


class LogReader(Protocol):
    """The part of a log that readers need: tails, `Run`, the command line. A file can implement it as well as Redis.

    Every method may raise `LogUnavailableError`; the same call may then be made again. `ValueError` is raised for
    values out of range.
    """

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Up to `limit` entries with `seq` > `after`, in order. Empty if there are none yet, or if the run does not exist.

        Raises:
            ForeignRecordError: If the log has an entry that playhead did not write.
        """
        ...

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """Like `read`, grouped by owner: each segment has one epoch and no missing number."""
        ...

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        """Like `read`, with each record byte for byte as stored. Whether playhead wrote it is not checked."""
        ...

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """Up to `limit` entries with `seq` < `before`, newest first."""
        ...

    async def info(self, run_id: str) -> RunInfo | None:
        """The run's present state, or None if the run does not exist."""
        ...

    async def lease(self, run_id: str) -> LeaseInfo | None:
        """The lease of the run's owner, renewed or not; None if the run has no owner or does not exist."""
        ...

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        """Up to `limit` of the runs that fit, newest first: those after a place, which stays while runs come and go.

        The time that it takes does not depend on how many runs there are; with several filters it grows with the runs
        that the narrowest of them fits.
        """
        ...

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """Up to `limit` of the ids that begin so, in alphabetical order. Some may be of runs whose retention has ended."""
        ...

    async def messages(self, session: str) -> list[Message]:
        """The session's messages, oldest first; empty for an unknown session."""
        ...

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        """The messages of its session that the run began from, as far as the log still has them.

        They are gone if the session was trimmed or deleted since; see `SessionLog.cut_session`.
        """
        ...

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        """The definition that a `run.claimed` of the run names by `digest`; None if the run or the definition is gone.

        Raises:
            ForeignRecordError: What is stored under the digest is not a definition.
        """
        ...

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        """Like `definition`, byte for byte as stored."""
        ...

    async def holder(self, session: str) -> str | None:
        """The id of the run that holds the session, or None if it is free. The session's other runs have ended or wait for it."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """The live workers."""
        ...


class ListedLog(LogReader, Protocol):
    """A log whose runs are archived: all of them can be listed."""

    def run_pages(self) -> AsyncGenerator[list[RunInfo], None]:
        """All runs, the newest first, page by page; one that is submitted meanwhile is left out. A page may be empty."""
        ...


class LogSubmitter(Protocol):
    """The part of a log with which clients start and control runs, and with which any process notices dead owners.

    Every method may raise `LogUnavailableError`; then the write may or may not have happened, and the identical call
    may be sent again. `ValueError` is for values out of range (names, times, counts); nothing is changed.
    """

    async def submit(self, run: NewRun) -> bool:
        """Create the run with its record 1 and queue it; if another run holds its session, do as its `if_busy` says.

        By default it waits for that run. A cancel of that run is sent in the same write.

        A child (`NewRun.parent`) is created only while its parent has not ended. When the parent ends, in whatever way, its
        children that have not ended are cancelled.

        Returns:
            True if it is new; False if the id already exists, or the parent has ended or does not exist, and then nothing
            was changed.

        Raises:
            SessionHeldError: If another run holds its session, and `if_busy` is `reject`; nothing was changed.
        """
        ...

    async def submit_or_steer(self, run: NewRun) -> str:
        """Send the run's prompt as a steer to the run that holds its session, instead of creating the run.

        That run must be of the same agent, and not cancelled; else the run is created as by `submit`, and waits. A steer that
        no owner has received when its run ends becomes the run, before those that wait for the session: the prompt is never
        lost, and never in two runs.

        Returns:
            The id of the run that has the prompt: the run's own, or that of the other one. Sent again, it is the same.
        """
        ...

    async def import_run(self, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]) -> bool:
        """Store a run with all its `records`, in order and in pages: one that has ended elsewhere, or a fork, which is
        queued.

        Readers see it whole or not at all. No worker can claim a run that has ended, and a fork can be claimed only
        when it is whole; it holds its session from then on. An import that breaks off leaves nothing: the parts that it
        stored are removed within an hour.

        Returns:
            True if it is stored. False if the id exists, or another import of this id has begun since; then nothing changed.
        """
        ...

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        """Send a signal to a run's owner; a response also queues a paused run again.

        A cancel ends a run without an owner at once, with the records `signal.received` and `run.cancelled`. If the run
        has an owner, these records are kept: if the owner dies, releases or pauses the run without having taken the
        cancel in, they end the run. So a cancelled run never waits for an owner.

        Returns:
            The run's state after the call; None if the run does not exist. A signal to an ended run changes nothing.

        Raises:
            ValueError: If the kind is unknown, or a `respond` has no responses.
            InterruptNotOpenError: If it responds to an interrupt that is not open, or already has a response; nothing
                is changed.
        """
        ...

    async def delete_run(self, run_id: str) -> RunStateName | None:
        """Delete a run that has ended, as the end of its retention does; the messages of its session stay.

        Sent again, it finds no run.

        Returns:
            The state that it had; if that is not a terminal one, nothing was changed. None if the run does not exist.
        """
        ...

    async def adopt(self, run_ids: Sequence[str]) -> list[str]:
        """Give a lease to each of these runs that is running without one, so that `reap` can find it.

        The lease of a run can only be missing if another program removed it. A living owner renews the new one.

        Returns:
            The ids of the runs that got a lease.
        """
        ...

    async def refusal(self) -> str | None:
        """Why the log accepts no writes now, in words; None if it does, or if the caller may not ask. Nothing is written."""
        ...

    async def reap(self, *, limit: int = 32) -> list[str]:
        """Handle up to `limit` passed deadlines and expired leases, oldest first.

        A run past its deadline is failed, whatever its state, and its owner is fenced. A run whose lease has expired is
        queued again, and a crash is counted; with a cancel that its owner did not take in it is cancelled. Past its
        crash limit it is failed by its next owner.

        Returns:
            The ids of the handled runs.
        """
        ...


class SessionLog(Protocol):
    """The part of a log that is about sessions.

    Errors are those of `LogSubmitter`.
    """

    async def stored_messages(self, session: str) -> StoredMessages:
        """The session's messages, how many were cut before them, and the agent's state; none for an unknown session."""
        ...

    async def agent_state(self, session: str) -> dict[str, Any]:
        """The state of the agent after the last run of the session that had one; empty if none had."""
        ...

    async def session_info(self, session: str) -> SessionInfo | None:
        """The session's present state; None if it has neither messages nor a run that holds it."""
        ...

    async def sessions(self, *, limit: int = 50, before: tuple[int, str] | None = None) -> list[SessionInfo]:
        """The sessions, the one that was used last first.

        `before` is the position and the name of the last one of the page before. A session that is used meanwhile moves to
        the front, and may be in no later page.
        """
        ...

    async def cut_session(self, session: str, *, upto: int | None) -> bool:
        """Cut the session's oldest messages up to number `upto`; all of them, which deletes the session, if it is None.

        Messages are numbered over the life of a session. The numbers go on after a cut, also after a deletion while the log
        of a run is kept that began from a message which was cut: see `history`.

        Returns:
            False if there is no such session, and nothing was changed.

        Raises:
            SessionHeldError: A run holds the session; nothing was changed.
        """
        ...

    async def store_session(
        self, session: str, messages: Sequence[Message], *, agent_state: Mapping[str, Any] | None = None
    ) -> bool:
        """Make a session with these messages and this state of the agent. Returns False, and changes nothing, if it has messages or a run already."""
        ...


class ClientLog(ListedLog, LogSubmitter, SessionLog, Protocol):
    """The part of a log that clients need."""


class LogOwner(Protocol):
    """The part of a log with which workers claim runs, write their logs, and end, release or pause them.

    Errors are those of `LogSubmitter`.
    """

    async def check(self) -> list[str]:
        """Refuse a server that cannot keep this log's promises. Called before anything is claimed there.

        Returns:
            Warnings about settings with which the server may lose runs, one line each.

        Raises:
            RedisAuthError, RedisTooOldError, UnusableServerError: As their messages say; waiting does not help.
            LogUnavailableError: If the server cannot be reached, so this is not known.
        """
        ...

    async def wait_for_work(self, queues: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """Wait up to `timeout` seconds for a run in one of `queues` (see `queues_of`), or a signal for a run of `worker`.

        A hint only: every return must be followed by a claim. Returns the id of a signalled run, else None.
        """
        ...

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
        """Become the owner of the run that is first in the queue among `agents` (name → encoded `run.claimed` record).

        Runs are in the order in which they were queued: submitted, given their session, released (with a delay: when it
        was over) or taken from an owner.

        The run's state becomes `running`, its epoch goes up by one, the record is appended, the lease starts. The same
        token gives the same claim again, and its lease starts anew. None if no run is queued. `crash_limit` and
        `retention_ms` are stored with the run, for an end without an owner; `retentions` has, by agent, what counts instead
        of `retention_ms`.

        `suspects`: a run that `is_suspect`, too; its owner must hold no other run until it has called `got_on` or has
        ended the ownership.

        `run_id`: only this run, if it is queued and due, whatever is before it.

        `frameworks` has, by agent, the framework with its version that runs the agent's runs at this worker. The first of a
        run stays with it: while a worker with this one is alive (`WorkerInfo.frameworks`), no other claims the run.

        `definitions` has, by agent, the definition that the agent's record names. It is stored at the latest with the
        claim, once for all runs that name it, and kept as long as one of them.
        """
        ...

    async def got_on(self, run_id: str, token: str) -> bool:
        """Clear a run of the crashes and the idle owners before the present owner, which has `token`.

        Call it when the step that ran at the end of the last ownership has completed. Returns whether the token is the
        owner's; if it is not, nothing changed.
        """
        ...

    async def give_up(self, owned: Sequence[tuple[str, str]]) -> None:
        """Give up the runs of the (run id, token) pairs, which their owner could not hold, and report that the owner is
        alive.

        A run that it still owns is queued again. If a run was taken from it because it was silent, the crash that was
        counted is taken back.
        """
        ...

    async def bury(self, worker: str, *, ended: str) -> list[str]:
        """Take all runs from a worker whose process has ended, as if their leases had expired, and return their ids.

        Args:
            worker: Its name.
            ended: How the process ended, in words, such as `was killed by SIGKILL`; kept for `Claim.crash_end`.
        """
        ...

    async def should_empty(self, queues: Sequence[str], *, worker: str, for_ms: int) -> bool:
        """Whether `worker` should hand over its runs, because a suspect waits in one of `queues` (see `queues_of`).

        True for one worker at a time, which has `for_ms` milliseconds to do so.
        """
        ...

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[WriteResult]]:
        """Append to several runs at once, each batch whole or not at all. Returns one result per batch, in order.

        If the connection is open, the call is written before this returns; await it for the results.
        """
        ...

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        """Extend the leases of (run id, token) pairs from now; the lease of a run with another owner is not changed."""
        ...

    async def inbox(self, run_id: str) -> list[Signal]:
        """The signals not yet acknowledged, oldest first."""
        ...

    async def finish(self, end: RunEnd) -> WriteResult:
        """Append the last records and end the run, all at once: state, session messages, lease, next run of the session.

        A completion is answered with `WAITING`, and nothing is stored, if more signals wait than it acknowledges, so
        that no signal sent before the end is lost.

        Raises:
            PlayheadError: If `end.session` is not the run's session; nothing is changed.
        """
        ...

    async def release(self, batch: Batch, *, delay_ms: int = 0) -> WriteResult:
        """Append records, end the ownership and queue the run again. Not a crash. A cancel that was not received ends the run now.

        With `delay_ms` no claim gets the run before so many milliseconds have passed by the log's clock; it does not count
        as an idle owner. The run stays queued: a cancel or a deadline ends it at once.
        """
        ...

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> WriteResult:
        """Append records, the last being `run.paused`, and pause the run until one of `interrupts` has a response.

        A paused run has no owner and no lease, is not queued, and keeps its session. If more signals wait than were
        acknowledged, a response may be among them: the run is queued again instead, and no interrupt is opened.
        """
        ...

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        """List this worker and what it serves; it is removed after `ttl_ms` without a repeat.

        Runs that workers with its frameworks began are kept for these workers, unless they drain.
        """
        ...

    async def withdraw(self, worker: str) -> None:
        """Remove the worker's announcement."""
        ...


class Log(ListedLog, LogSubmitter, SessionLog, LogOwner, Protocol):
    """The fenced logs of all runs of one deployment: the interface that every backend implements."""
