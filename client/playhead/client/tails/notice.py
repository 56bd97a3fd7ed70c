"""Notices of what a tail waits for, and the error for a run that does not exist. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.core.ids import made_at
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import now_ms
from playhead.runtime.log.values import DEFAULT_RETENTION_MS, LeaseInfo, RunInfo, WorkerInfo

__all__ = [
    "Notice",
    "NoticeKind",
    "OnNotice",
    "no_worker",
    "postponed",
    "queued",
    "refused",
    "rewound",
    "run_not_found",
    "silent",
]

NoticeKind = Literal["no_worker", "queued", "paused", "silent", "unreachable", "refused", "rewound"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tail waits for; sent while it waits.

    Attributes:
        kind: `no_worker` (no live worker serves the agent), `queued` (after other runs, after the current run of its
            session, or until its model is called again), `paused` (until its questions have responses), `silent` (the run's worker does not renew its
            lease), `unreachable` (Redis does not reply; the tail continues when it does), `refused` (Redis accepts no
            writes, so no run goes on until it does) or `rewound` (Redis lost the end of the log; the run's owner may
            send it again).
        message: For a user.
        interrupts: For `paused`: the open questions.
        since: For `silent`: when the worker was last heard of, in unix milliseconds by the clock of Redis.
        until: For `silent`: when the tail stops waiting for it, because another worker may take the run over.
    """

    kind: NoticeKind
    run_id: str
    message: str
    interrupts: tuple[Interrupt, ...] = ()
    since: int | None = None
    until: int | None = None


OnNotice = Callable[[Notice], None]
"""Called with what a tail waits for, once per kind until the tail has new records."""


_CLOCKS_DIFFER_MS: Final = 60_000
"""By how much the clock that made an id may be ahead of this machine's."""


def run_not_found(run_id: str, *, seen: int = 0) -> RunNotFoundError:
    """The error for a run that does not exist, or no longer: what is known of it, and what can have happened.

    Args:
        run_id: Its id, which tells when it was made, unless the caller chose another one.
        seen: The last record of it that was read before.
    """
    return RunNotFoundError(
        f"no run {run_id!r}: {_why(seen, made_at(run_id))}. `playhead runs` lists those that exist."
    )


def _why(seen: int, made: int | None) -> str:
    elsewhere = "it was deleted, or submitted to another server or under another prefix"
    if seen:
        return (
            f"it was there, and its records up to {seen} were read; since then Redis was emptied or lost its data, or the "
            "run was deleted, or removed because its retention ended"
        )
    if made is None:
        return f"it was never submitted here, {elsewhere}, or it was removed because its retention ended"
    age = now_ms() - made
    if age < -_CLOCKS_DIFFER_MS:
        return f"its id has a time that is still to come: it was never submitted here, {elsewhere}"
    age = max(0, age)
    when = f"its id was made {_age(age)} ago"
    if age < DEFAULT_RETENTION_MS:
        return (
            f"{when}, so it has not been removed for its age, unless its retention was shorter than usual: {elsewhere}, "
            "or Redis was emptied or lost its data"
        )
    days = DEFAULT_RETENTION_MS // 86_400_000
    return f"{when}, and the usual retention is {days} days, so it was removed; or {elsewhere}"


def _age(ms: int) -> str:
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if ms >= 2 * size:
            return f"{ms // size} {unit}"
    return f"{ms // 1000} seconds"


def no_worker(agent: str, workers: Sequence[WorkerInfo]) -> str:
    """The message that none of the live workers serves the agent, and which agents they serve."""
    served = sorted({name for worker in workers for name in worker.agents})
    return f"no live worker serves agent {agent!r}" + (f" (served now: {', '.join(served)})" if served else "")


def queued(run_id: str, holder: str | None, info: RunInfo | None) -> str:
    """The message about what a queued run waits for: the run `holder` that has its session, or else other runs."""
    if holder is None or holder == run_id:
        return f"run {run_id} is queued: all workers that serve its agent are busy, or have just ended."
    does = f"is {info.state}" if info is not None else "has just ended"
    asks = f" and waits for a response: playhead show {holder}" if does == "is paused" else ""
    return f"run {run_id} is queued: its session is with run {holder}, which {does}{asks}."


def postponed(run_id: str, due: int) -> str:
    """The message that a queued run waits until the time `due`, in unix milliseconds, before its model is called again."""
    until = datetime.fromtimestamp(due / 1000).astimezone().isoformat(timespec="seconds")
    return f"run {run_id} is queued: it waits until {until} before its model is called again, because the last call failed."


def refused(run_id: str, state: str, reason: str) -> str:
    """The message that the run cannot continue because the server accepts no writes."""
    owner = "its owner keeps what it has and goes on" if state == "running" else "a worker can take it"
    return f"run {run_id} is {state}: {reason}; {owner} when writes are accepted again."


def silent(run_id: str, worker: str | None, lease: LeaseInfo) -> Notice:
    """The notice of how long a run's worker has not renewed its lease, and when the wait for it ends."""
    heard = (lease.now - lease.renewed) / 1000
    left = max(0, lease.ends - lease.now) / 1000
    since = f"for {heard:.1f} s, since {_clock(lease.renewed)}" if lease.length_ms else "in time"
    return Notice(
        "silent",
        run_id,
        f"run {run_id}: its worker {worker or 'of an unknown name'} has not renewed its lease {since}; it was killed, "
        f"cut off or paused. Waiting until {_clock(lease.ends)} ({left:.1f} s more), then another worker may take over.",
        since=lease.renewed if lease.length_ms else None,
        until=lease.ends,
    )


def _clock(unix_ms: int) -> str:
    """A time of day in UTC."""
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%H:%M:%S} UTC"


def rewound(run_id: str, *, head: int, seen: int) -> str:
    """The message that Redis lost the records after `head`, which were already seen."""
    return (
        f"run {run_id}: Redis lost the log after record {head}, and {seen} was seen; waiting for its "
        "owner to send the rest again."
    )
