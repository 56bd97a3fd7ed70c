"""When one shard last answered the worker's questions for work: what a health check asks."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from playhead.workers.leases.watchdog import now_s

__all__ = ["Asking"]


class Asking:
    """The answers of one shard to two questions: claims, and waits for notifications.

    A worker waits for notifications all the time, and claims only while it has a free slot. So while all slots are
    taken, or while it drains, the answers to the waits count alone. Renewals need no part in it: a run whose lease cannot
    be renewed is stopped before the lease ends, which frees its slot, and then a claim is due.
    """

    def __init__(self, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._heard: float | None = None
        self._claimed: float | None = None
        self._is_full = False

    def heard(self) -> None:
        """A wait for notifications was answered."""
        self._heard = self._now()

    def claimed(self) -> None:
        """A claim was answered, or none was due."""
        self._claimed = self._now()

    @contextmanager
    def full(self) -> Generator[None]:
        """All slots are taken within the block; at its end a claim is due."""
        self._is_full = True
        try:
            yield
        finally:
            self._is_full = False
            self._claimed = self._now()

    def answered_at(self, *, draining: bool) -> float | None:
        """When the shard last answered what the worker has to ask, by `now_s`; None if it has not answered yet."""
        if self._is_full or draining:
            return self._heard
        if self._heard is None or self._claimed is None:
            return None
        return min(self._heard, self._claimed)
