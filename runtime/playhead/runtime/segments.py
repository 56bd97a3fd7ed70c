"""Records as readers move them: as many at once as one owner wrote, each as it is stored. Pure.

A page of a log is a few segments, what is published live is one. So the way from the log to a reader costs per segment,
not per record; a `model.chunk` becomes a typed record only for who asks for records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from playhead.runtime.codec import Stored, record_of
from playhead.runtime.records import Entry

__all__ = ["Segment", "segments"]


class Segment(NamedTuple):
    """Records `first`, `first + 1`, … of a log, all written by the owner of `epoch`; at least one."""

    first: int
    epoch: int
    values: list[Stored]

    @property
    def last(self) -> int:
        """The number of its last record."""
        return self.first + len(self.values) - 1

    def entries(self) -> Iterator[Entry]:
        """Its records, typed, each in its place."""
        for seq, value in enumerate(self.values, self.first):
            yield Entry(seq, self.epoch, record_of(value))


def segments(places: Sequence[tuple[int, int]], values: list[Stored]) -> list[Segment]:
    """Records by owner; `places` are their numbers and epochs, which grow. A hole in the numbers begins a segment too."""
    found: list[Segment] = []
    for (seq, epoch), value in zip(places, values, strict=True):
        before = found[-1] if found else None
        if before is None or before.epoch != epoch or before.last + 1 != seq:
            before = Segment(seq, epoch, [])
            found.append(before)
        before.values.append(value)
    return found
