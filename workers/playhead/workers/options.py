"""`WorkerOptions`, the settings of a worker, and `WorkerStats`, its counters."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from playhead.runtime.core.arguments import check_number, check_whole
from playhead.runtime.log.values import DEFAULT_CRASH_LIMIT, DEFAULT_LEASE_MS, DEFAULT_RETENTION_MS

__all__ = ["WorkerOptions", "WorkerStatistics", "worker_name"]

_MINIMUM_LEASE_MS: Final = 2000
_STALL_LEASES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The settings of a worker.

    Attributes:
        concurrency: Number of runs held at once.
        lease_ms: How long the fleet waits for a silent worker before another takes its runs; at least 2,000.
        grace_s: Seconds that a draining worker lets runs go on to a boundary before it stops them there.
        crash_limit: Number of workers in a row that may die with a run, while it does not get on, before it is failed.
        retention_ms: How long a finished run can be read.
        stall_s: Seconds the event loop may be blocked before its runs are left to other workers; None is three leases.
    """

    concurrency: int = 100
    lease_ms: int = DEFAULT_LEASE_MS
    grace_s: float = 20.0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS
    stall_s: float | None = None

    @property
    def longest_stall_s(self) -> float:
        """`stall_s`, or its default."""
        return _STALL_LEASES * self.lease_ms / 1000 if self.stall_s is None else self.stall_s

    def __post_init__(self) -> None:
        check_whole("concurrency", self.concurrency, least=1)
        check_whole("lease_ms", self.lease_ms, least=_MINIMUM_LEASE_MS)
        check_number("grace_s", self.grace_s)
        check_whole("crash_limit", self.crash_limit, least=0)
        check_whole("retention_ms", self.retention_ms, least=1)
        check_number("stall_s", self.stall_s, optional=True)
        if self.longest_stall_s < self.lease_ms / 3000:
            raise ValueError(f"stall_s must be at least a third of the lease, not {self.stall_s}")


def worker_name(pid: int, mark: str) -> str:
    """The name of a worker in the process `pid` of this host; `mark` tells it from others with the same number."""
    return f"{socket.gethostname()}-{pid}-{mark}"


class WorkerStatistics(NamedTuple):
    """The counters of a worker since its start, and its current number of runs."""

    running: int
    """Runs held now."""
    claimed: int
    """Runs claimed."""
    ended: Mapping[str, int]
    """Executions by outcome: completed, failed, cancelled, paused, handed_over, fenced."""
    appends: int
    """Calls that appended records."""
    records: int
    """Records appended by them."""
    reaped: int
    """Dead workers' runs that were queued again."""
    renewals: int = 0
    """Successful renewals, each of all runs held."""
