"""`WorkerOptions`, the settings of a worker, and `WorkerStatistics`, its counters."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from playhead.runtime.core.arguments import check_number, check_whole
from playhead.runtime.core.checks import LONGEST_MS
from playhead.runtime.core.records import ENDED_STATES, RunStateName
from playhead.runtime.log.values import DEFAULT_CRASH_LIMIT, DEFAULT_LEASE_MS, DEFAULT_RETENTION_MS

__all__ = ["WorkerOptions", "WorkerStatistics", "worker_name"]

_MINIMUM_LEASE_MS: Final = 2000
_STALL_LEASES: Final = 3


def _check_retention(rules: object) -> None:
    if not isinstance(rules, Mapping):
        raise TypeError(f"retention must be a mapping of AGENT:STATE to milliseconds, not {rules!r:.80}")
    for key, time in cast("Mapping[object, object]", rules).items():
        agent, _, state = str(key).rpartition(":")
        named = agent == "*" or all(letter.isalnum() or letter in "_-." for letter in agent)
        if not agent or not named or state not in ("*", *ENDED_STATES):
            states = ", ".join(sorted(ENDED_STATES))
            raise ValueError(f"retention is for AGENT:STATE, and STATE is one of {states} or *; not {key!r:.80}")
        if key == "*:*":
            raise ValueError("retention has no rule '*:*': the time for all runs is retention_ms, or --retention TIME")
        check_whole(f"retention of {key}", time, least=1, most=LONGEST_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The settings of a worker.

    Attributes:
        concurrency: The number of runs held at once. Children, the calls of agents that are tools, do not count.
        lease_ms: How long the fleet waits for a silent worker before another takes its runs; at least 2,000.
        grace_s: Seconds that a draining worker lets runs go on to a boundary before it stops them there.
        crash_limit: Number of workers in a row that may die with a run, while it does not get on, before it is failed.
        retention_ms: How long an ended run stays in Redis, in milliseconds; at most a hundred years.
        retention: What counts instead of `retention_ms`, in milliseconds too: by `AGENT:STATE`, an agent's name and the state
            in which its run ended, one of which may be `*`. `support:failed` goes before `support:*`, and that before
            `*:failed`.
        stall_s: Seconds the event loop may be blocked before its runs are left to other workers; None is three leases.
    """

    concurrency: int = 100
    lease_ms: int = DEFAULT_LEASE_MS
    grace_s: float = 20.0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS
    retention: Mapping[str, int] = field(default_factory=dict[str, int])
    stall_s: float | None = None

    def retention_of(self, agent: str, state: RunStateName) -> int:
        """How long a run of the agent that has ended in this state is kept, in milliseconds."""
        for key in (f"{agent}:{state}", f"{agent}:*", f"*:{state}"):
            if key in self.retention:
                return self.retention[key]
        return self.retention_ms

    def retention_without_owner(self, agent: str) -> int:
        """How long a run is kept that another process ends, as failed or cancelled: the longer time of the two."""
        return max(self.retention_of(agent, "failed"), self.retention_of(agent, "cancelled"))

    @property
    def longest_stall_s(self) -> float:
        """`stall_s`, or its default."""
        return _STALL_LEASES * self.lease_ms / 1000 if self.stall_s is None else self.stall_s

    def __post_init__(self) -> None:
        check_whole("concurrency", self.concurrency, least=1)
        check_whole("lease_ms", self.lease_ms, least=_MINIMUM_LEASE_MS)
        check_number("grace_s", self.grace_s)
        check_whole("crash_limit", self.crash_limit, least=0)
        check_whole("retention_ms", self.retention_ms, least=1, most=LONGEST_MS)
        _check_retention(self.retention)
        check_number("stall_s", self.stall_s, optional=True)
        if self.longest_stall_s < self.lease_ms / 3000:
            raise ValueError(f"stall_s must be at least a third of the lease, not {self.stall_s}")


def worker_name(pid: int, mark: str) -> str:
    """The name of a worker in the process `pid` of this host; `mark` distinguishes it from others with the same pid."""
    return f"{socket.gethostname()}-{pid}-{mark}"


class WorkerStatistics(NamedTuple):
    """The counters of a worker since its start, and its current number of runs."""

    running: int
    """Runs held now."""
    claimed: int
    """Runs claimed."""
    ended: Mapping[str, int]
    """Executions by outcome: completed, failed, cancelled, paused, handed_over, postponed, fenced."""
    appends: int
    """Calls that appended records."""
    records: int
    """Records appended by them."""
    reaped: int
    """Dead workers' runs that were queued again."""
    renewals: int = 0
    """Successful renewals, each of all runs held."""
    archived: int = 0
    """Runs archived, if the worker has an archive."""
    asked_ago_s: float | None = None
    """Seconds since the worker last asked for work and was answered, on the shard where that is longest ago: it claimed,
    or it had no free slot and waited for notifications. None before the first answers."""
