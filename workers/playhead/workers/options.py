"""How a worker works, and what it tells of its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from playhead.runtime.log.values import DEFAULT_CRASH_LIMIT, DEFAULT_LEASE_MS, DEFAULT_RETENTION_MS

__all__ = ["WorkerOptions", "WorkerStatistics"]

_MINIMUM_LEASE_MS: Final = 2000
_STALL_LEASES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        concurrency: Runs held at once.
        lease_ms: How long the fleet waits for a silent worker before another takes its runs; 2,000 or more.
        grace_s: Seconds a draining worker lets runs go on to a boundary before it stops them there.
        crash_limit: Workers a run may take down with it before it is failed.
        retention_ms: How long a finished run stays readable.
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
        """`stall_s`, or what it is by default."""
        return _STALL_LEASES * self.lease_ms / 1000 if self.stall_s is None else self.stall_s

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency}")
        if self.lease_ms < _MINIMUM_LEASE_MS:
            raise ValueError(f"lease_ms must be at least {_MINIMUM_LEASE_MS}, not {self.lease_ms}")
        if self.grace_s < 0 or self.crash_limit < 0 or self.retention_ms < 1:
            raise ValueError("grace_s and crash_limit must not be negative, retention_ms must be positive")
        if self.longest_stall_s < self.lease_ms / 3000:
            raise ValueError(f"stall_s must be at least a third of the lease, not {self.stall_s}")


class WorkerStatistics(NamedTuple):
    """What a worker has done since it started, and holds now."""

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
    """Runs of dead workers put back in line."""
    renewals: int = 0
    """Renewals that went through, each of all runs held."""
