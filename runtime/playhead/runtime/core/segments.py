"""Records as readers move them: as many at once as one owner wrote, each as it is stored. Pure.

A page of a log is a few segments, what is published live is one. So the way from the log to a reader costs per segment,
not per record; a `model.chunk` becomes a typed record only for who asks for records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.records import Entry, ModelChunk, Record

__all__ = ["REASONING", "TEXT", "TOOL_INPUT", "WHOLE", "Segment", "Stored", "record_of", "segments"]

Stored = list[Any] | Record
"""A record as it is stored: a `model.chunk` as its compact array (see `codec`), any other as the record itself."""

WHOLE: Final = 0
TEXT: Final = 1
TOOL_INPUT: Final = 2
REASONING: Final = 3
"""The forms of the array, its first item; WHOLE to REASONING are all."""


def record_of(stored: Stored) -> Record:
    """The record of what `codec.decode_stored` gave, which has checked the types in an array."""
    return _expand(stored) if type(stored) is list else cast("Record", stored)


def _expand(items: list[Any]) -> ModelChunk:
    form, at, value = items[0], items[1], items[2]
    if form == WHOLE:
        return ModelChunk(at=at, chunk=value)
    if form == TEXT:
        delta: dict[str, Any] = {"text": value}
    elif form == TOOL_INPUT:
        delta = {"toolUse": {"input": value}}
    else:
        delta = {"reasoningContent": {"text": value}}
    block = {"contentBlockIndex": items[3], "delta": delta} if len(items) > 3 else {"delta": delta}
    return ModelChunk(at=at, chunk={"contentBlockDelta": block})


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
    start, (next_seq, owner) = 0, places[0] if places else (0, 0)
    for index, (seq, epoch) in enumerate(places):
        if seq != next_seq or epoch != owner:
            found.append(Segment(places[start][0], owner, values[start:index]))
            start, next_seq, owner = index, seq, epoch
        next_seq += 1
    if places:
        found.append(Segment(places[start][0], owner, values[start:]))
    return found
