"""The log interface: what every backend promises. One contract suite (`tests/contract`) holds all of them to it.

`Log` is three interfaces, one for each who uses it: `LogReader` for tails and whatever else only reads,
`LogSubmitter` for who starts and controls runs, `LogOwner` for workers. All writes are safe to send twice: the second
gives the first one's answer.

Invariants that make `DUP` sound, to be kept by every caller: one writer per token; one write in flight per run; no
retries below this interface.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from playhead.runtime.core.checks import check_agents, check_count, check_duration, check_name
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import Entry, RunCancelled, RunFailed, RunStateName, SignalReceived, now_ms
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.steps import CANCELLED_TEXT
from playhead.runtime.log.values import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    NewRun,
    Renewal,
    RunEnd,
    RunInfo,
    WorkerInfo,
    WriteResult,
)

__all__ = [
    "Log",
    "LogOwner",
    "LogReader",
    "LogSubmitter",
    "cancel_ending",
    "check_claim",
    "check_pause",
    "check_signal",
    "crash_failure",
    "deadline_failure",
]

SIGNAL_KINDS: Final = ("cancel", "respond", "steer")


def crash_failure() -> bytes:
    """The encoded `run.failed` record that ends a run which took more workers down with it than its crash limit."""
    text = "the run's worker died more often while running it than the crash limit allows; it is not tried again"
    return encode_record(RunFailed(at=now_ms(), error_type="CrashLimitExceeded", message=text))


def deadline_failure() -> bytes:
    """The encoded `run.failed` record that ends a run which is past its deadline."""
    text = "the deadline that was set when the run was submitted has passed"
    return encode_record(RunFailed(at=now_ms(), error_type="DeadlineExceeded", message=text))


def cancel_ending(signal: Signal) -> list[bytes]:
    """The encoded records that end a run which has no owner to take `signal` in, if it is a cancel; else none."""
    if signal.kind != "cancel":
        return []
    at = now_ms()
    message = {"role": "assistant", "content": [{"text": CANCELLED_TEXT}]}
    result = {"stop_reason": "cancelled", "message": message, "metrics": {}, "state": {}}
    received = SignalReceived(at=at, signal_id=signal.signal_id, kind=signal.kind)
    return [encode_record(received), encode_record(RunCancelled(at=at, result=result))]


def check_signal(signal: Signal) -> None:
    """Refuse what is not a signal.

    Raises:
        ValueError: An unknown kind, an id that is not a name, or a `respond` whose body answers nothing.
    """
    if signal.kind not in SIGNAL_KINDS:
        raise ValueError(f"a signal's kind must be one of {', '.join(SIGNAL_KINDS)}, not {signal.kind!r}")
    check_name("signal_id", signal.signal_id)
    if signal.kind == "respond":
        if not (isinstance(signal.body, dict) and signal.body):
            raise ValueError(
                f"a respond signal needs answers as {{interrupt id: answer}}, not {type(signal.body).__name__}"
            )
        _check_interrupts(signal.body)


def check_claim(
    agents: Iterable[str], *, worker: str, token: str, lease_ms: int, crash_limit: int, retention_ms: int
) -> None:
    """Refuse terms of ownership that cannot be kept.

    Raises:
        ValueError: A name that is not one, a lease or a retention below a millisecond, a crash limit below 0.
    """
    check_agents(agents)
    check_name("worker", worker)
    check_name("token", token)
    check_duration("lease_ms", lease_ms)
    check_count("crash_limit", crash_limit)
    check_duration("retention_ms", retention_ms)


def check_pause(interrupts: Sequence[str]) -> None:
    """Refuse a pause that no answer could end.

    Raises:
        ValueError: No interrupt is open, or the id of one is not a text.
    """
    if not interrupts:
        raise ValueError("a run that waits for nothing cannot be paused: no interrupt is open")
    _check_interrupts(interrupts)


def _check_interrupts(ids: Iterable[object]) -> None:
    """Any text will do: a model's own call id is part of it."""
    for interrupt in ids:
        if not isinstance(interrupt, str) or not interrupt:
            raise ValueError(f"the id of an interrupt must be a text, not {interrupt!r}")


class LogReader(Protocol):
    """What readers ask: tails, `Run`, the command line. A file or an archive can answer it as well as Redis does.

    Every method may raise `LogUnavailableError`; the same call may be made again. `ValueError` is for values no log takes.
    """

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Up to `limit` entries with `seq` > `after`, in order. Empty if there are none (yet), or no such run.

        Raises:
            ForeignRecordError: If the log holds something playhead did not write.
        """
        ...

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """As `read`, by owner: each segment is of one epoch and without a hole."""
        ...

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """Up to `limit` entries with `seq` < `before`, newest first."""
        ...

    async def info(self, run_id: str) -> RunInfo | None:
        """The run's present state, or None if the run does not exist."""
        ...

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        """The newest runs first."""
        ...

    async def messages(self, session: str) -> list[Message]:
        """The session's messages, oldest first; empty for an unknown session."""
        ...

    async def holder(self, session: str) -> str | None:
        """The id of the run that has the session: the only one of its runs that is in line, running or paused."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """The live workers."""
        ...


class LogSubmitter(Protocol):
    """What those ask who start and control runs, or find that an owner is dead.

    Every method may raise `LogUnavailableError`; then the write may or may not have happened, and the identical call
    may be sent again. `ValueError` is for values no log takes (names, times, counts out of range); nothing is changed.
    """

    async def submit(self, run: NewRun) -> bool:
        """Create the run with its record 1 and put it in line, behind its session if that is busy.

        Returns:
            True if it is new, False if the id exists already (then nothing changed).
        """
        ...

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        """Send a signal to a run's owner; an answer also puts a paused run back in line.

        A cancel of a run that has no owner needs none: the run ends there and then, by `signal.received` and
        `run.cancelled`. If it has an owner, these records are kept with it: should the owner die, release or pause the
        run without having taken the cancel in, the run ends by them. So a cancelled run never waits for an owner.

        Returns:
            The run's state after the call; None if the run does not exist. A signal to an ended run changes nothing.

        Raises:
            ValueError: An unknown kind, or a `respond` without answers.
            InterruptNotOpenError: It answers what is not asked, or has been answered; nothing is changed.
        """
        ...

    async def reap(self, *, limit: int = 32) -> list[str]:
        """Deal with up to `limit` passed deadlines and expired leases, oldest first.

        A run past its deadline is failed, whatever its state, and its owner is fenced. One whose lease has run out goes
        back in line; past its crash limit it is failed; with a cancel that its owner did not take in it is cancelled.

        Returns:
            The ids of the runs dealt with.
        """
        ...


class LogOwner(Protocol):
    """What workers ask: they claim runs, write their logs and part with them.

    Errors are those of `LogSubmitter`.
    """

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """Wait up to `timeout` seconds until there may be work, or a signal for a run of `worker`.

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
    ) -> Claim | None:
        """Take the run that is first in line among `agents` (name → encoded `run.claimed` record).

        Runs stand in line in the order in which they were put there: submitted, given their session, or given back.

        The run goes to `running`, its epoch goes up by one, the record is appended, the lease starts. The same token
        gives the same claim again, and its lease starts anew. None when nothing is due. `crash_limit` and `retention_ms`
        become the run's own: who reaps it goes by them.
        """
        ...

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[WriteResult]]:
        """Append to several runs at once; each batch whole or not at all, one answer each, in order.

        Where the connection is open the call is written before this returns; await it for the answers.
        """
        ...

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        """Extend the leases of (run id, token) pairs from now; a lost run's lease is not touched."""
        ...

    async def inbox(self, run_id: str) -> list[Signal]:
        """The signals not yet acknowledged, oldest first."""
        ...

    async def finish(self, end: RunEnd) -> WriteResult:
        """Append the last records and end the run, all at once: state, session messages, lease, next of the session.

        A completion with signals waiting beyond those it acknowledges is answered `WAITING`, and nothing is stored: no
        signal sent before the end is lost in it.

        Raises:
            PlayheadError: `end.session` is not the run's session; nothing is changed.
        """
        ...

    async def release(self, batch: Batch) -> WriteResult:
        """Append and hand the run back, to the end of the line. Not a crash. A cancel not taken in takes effect there and then."""
        ...

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> WriteResult:
        """Append, the last record being `run.paused`, and set the run aside until one of `interrupts` is answered.

        A paused run has no owner, no lease and no place in line, and keeps its session. With signals waiting beyond
        those acknowledged, which may hold an answer, it goes back in line at once instead and no interrupt is opened.
        """
        ...

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        """Say that this worker lives and what it serves; forgotten after `ttl_ms` without a repeat."""
        ...

    async def withdraw(self, worker: str) -> None:
        """Take the worker's announcement back."""
        ...


class Log(LogReader, LogSubmitter, LogOwner, Protocol):
    """The fenced logs of all runs of one deployment: what every backend is held to."""
