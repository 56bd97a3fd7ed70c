"""The time in which neither a run nor its fork was at work. Pure."""

from __future__ import annotations

from playhead.runtime.core.definition import place_of_fork
from playhead.runtime.core.records import Entry

__all__ = ["ForkGap"]


class ForkGap:
    """What lies between the last record that a fork has of its parent, with its parent's time, and the first one of its own.

    Attributes:
        at: The number of the parent's last record; 0 if the run is not a fork, or its record 1 is not known.
        ms: How long the gap is, in milliseconds; 0 until the first record after it.
    """

    def __init__(self) -> None:
        self.at: int = 0
        self.ms: int = 0
        self._last_at = 0

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        if entry.seq == 1:
            self.at = place_of_fork(entry.record)
        if 0 < self.at == entry.seq - 1:
            self.ms = max(0, entry.record.at - self._last_at)
        self._last_at = entry.record.at

    def within(self, first: int, last: int) -> int:
        """How much of the gap lies between two records, in milliseconds: all of it or none."""
        return self.ms if first <= self.at < last else 0
