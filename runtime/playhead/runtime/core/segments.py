"""Segments: consecutive records of one owner, each in its stored form, as readers handle them. Pure.

A page of a log is a few segments, and a published batch is one. So reading has a cost per segment, not per record; a
`model.chunk` becomes a typed record only for callers that ask for records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.records import Entry, ModelChunk, Record

__all__ = [
    "REASONING",
    "TEXT",
    "TOOL_INPUT",
    "WHOLE",
    "Encoded",
    "Segment",
    "Stored",
    "changes_state",
    "compact",
    "expanded",
    "record_of",
    "segments",
]

Stored = list[Any] | Record
"""A record as it is stored: a `model.chunk` as its compact array (see `codec`), any other as the record itself."""


class Encoded(NamedTuple):
    """A record and its bytes on the way to the log: it was encoded to find out whether it can be stored."""

    record: Record
    data: bytes


WHOLE: Final = 0
TEXT: Final = 1
TOOL_INPUT: Final = 2
REASONING: Final = 3
"""All forms of the array, named by its first item."""


def compact(at: int, chunk: Chunk) -> list[Any]:
    """Make the array that is stored for a `model.chunk`: a delta as its text alone, any other chunk whole.

    Only what decides the form is looked at. `codec.encode_chunk` checks that it is plain data.
    """
    block = chunk.get("contentBlockDelta")
    if type(block) is not dict or len(chunk) != 1:
        return [WHOLE, at, chunk]
    delta = block.get("delta")
    if type(delta) is not dict or len(delta) != 1:
        return [WHOLE, at, chunk]
    if type(text := delta.get("text")) is str and len(block) == 1:  # the usual form, recognised in one comparison
        return [TEXT, at, text]
    return _compact_delta(at, chunk, delta, index=block.get("contentBlockIndex"))


def _compact_delta(at: int, chunk: Chunk, delta: dict[str, Any], *, index: Any) -> list[Any]:
    if len(chunk["contentBlockDelta"]) != (1 if index is None else 2):
        return [WHOLE, at, chunk]
    ((kind, value),) = delta.items()
    form = TEXT
    if kind == "toolUse" and type(value) is dict and len(value) == 1:
        form, value = TOOL_INPUT, value.get("input")
    elif kind == "reasoningContent" and type(value) is dict and len(value) == 1:
        form, value = REASONING, value.get("text")
    elif kind != "text":
        return [WHOLE, at, chunk]
    if type(value) is not str:
        return [WHOLE, at, chunk]
    return [form, at, value] if index is None else [form, at, value, index]


def record_of(stored: Stored | Encoded) -> Record:
    """The record for a value that a loop yields or `codec.decode_stored` returned; an array's types are already checked."""
    if type(stored) is list:
        return ModelChunk(at=stored[1], chunk=expanded(stored))
    return stored.record if isinstance(stored, Encoded) else cast("Record", stored)


def expanded(items: list[Any]) -> Chunk:
    """The chunk that `compact` made into this array."""
    form, value = items[0], items[2]
    if form == WHOLE:
        return value
    if form == TEXT:
        delta: dict[str, Any] = {"text": value}
    elif form == TOOL_INPUT:
        delta = {"toolUse": {"input": value}}
    else:
        delta = {"reasoningContent": {"text": value}}
    block = {"contentBlockIndex": items[3], "delta": delta} if len(items) > 3 else {"delta": delta}
    return {"contentBlockDelta": block}


def changes_state(stored: Stored | Encoded) -> bool:
    """Whether the fold needs the record. Nearly all records are chunks, of which only a redaction changes the state."""
    return type(stored) is not list or (stored[0] == WHOLE and "redactContent" in stored[2])


class Segment(NamedTuple):
    """Records `first`, `first + 1`, … of a log, all written by the owner of `epoch`; at least one record."""

    first: int
    epoch: int
    values: list[Stored]

    @property
    def last(self) -> int:
        """The number of its last record."""
        return self.first + len(self.values) - 1

    def entries(self) -> Iterator[Entry]:
        """Yield its records, typed, each with its position."""
        for seq, value in enumerate(self.values, self.first):
            yield Entry(seq, self.epoch, record_of(value))


def segments(places: Sequence[tuple[int, int]], values: list[Stored]) -> list[Segment]:
    """Group records by owner; `places` are their increasing numbers and epochs. A gap starts a new segment."""
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
