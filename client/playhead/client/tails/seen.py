"""The records that a reader has seen of a run: enough to notice that the log was rewritten. Pure.

A failover of Redis may lose the end of a log that readers have seen. The owner then sends the same records again, or
another owner continues from the remaining log, and other records get the numbers that were seen. A reader compares the
last record it returned with the record that now has its number: logs grow only at their end, so if these two are
equal, all records before them are.
"""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import Entry, ModelChunk, RunPaused
from playhead.runtime.core.segments import Segment, Stored, record_of

__all__ = ["ClaimSeen", "Seen", "stored_bytes", "type_of"]

_CLAIM: Final = "run.claimed"


def type_of(value: Stored) -> str:
    """The type of a record."""
    return ModelChunk.type if type(value) is list else record_of(value).type


def stored_bytes(value: Stored) -> bytes:
    """The bytes of a record, because equality is not enough: nan is not equal to itself."""
    return encode_record(record_of(value), limit=sys.maxsize)


def _kept(value: Stored) -> list[Any] | bytes:
    """A record in the form that a waiting tail keeps: a typed one takes ten times the memory of its bytes."""
    return value if type(value) is list else stored_bytes(value)


class ClaimSeen(NamedTuple):
    """A claim that was seen: the beginning of an ownership."""

    seq: int
    epoch: int
    record: bytes


class Seen:
    """The last record that one reader has seen of a run.

    Args:
        after: The last entry itself, or a cursor. With a bare number nothing can be checked.

    Attributes:
        seq: Its number; 0 for none.
        epoch: Its writer's epoch; None if unknown.
        type: Its type; empty if unknown.
        claims: All claims seen, in order.
    """

    __slots__ = ("_record", "claims", "epoch", "seq", "type")

    def __init__(self, after: Cursor | Entry) -> None:
        self.seq: int
        self.epoch: int | None
        self.type: str = ""
        self.claims: tuple[ClaimSeen, ...] = ()
        self._record: list[Any] | bytes | None = None
        if isinstance(after, Entry):
            self.seq, self.epoch, record = after
            self.learn(record)
        else:
            self.seq, _, self.epoch = parse_cursor(after)

    @property
    def certain(self) -> bool:
        """Whether more than the number is known, so that the record can be compared."""
        return self.epoch is not None and self.seq > 0

    def is_(self, seq: int, epoch: int, value: Stored) -> bool:
        """Whether this is the last record seen."""
        if seq != self.seq or self.epoch not in (None, epoch):
            return False
        mine = self._record
        if mine is None or value == mine:
            return True
        return stored_bytes(value) == (mine if isinstance(mine, bytes) else stored_bytes(mine))

    def learn(self, value: Stored) -> None:
        """Keep this as the last record seen."""
        self.type, self._record = type_of(value), _kept(value)

    @property
    def open_interrupts(self) -> tuple[Interrupt, ...]:
        """The open interrupts, if the last record seen is a pause."""
        record = decode_record(self._record) if isinstance(self._record, bytes) else None
        return tuple(Interrupt(one) for one in record.interrupts) if isinstance(record, RunPaused) else ()

    def may_precede(self, segment: Segment) -> bool:
        """Whether `segment`, of the next number, can follow: an ownership begins with its claim, and epochs count up.

        If another record follows, the claim of its owner has a number that was seen as something else.
        """
        return (
            self.epoch is None
            or segment.epoch == self.epoch
            or (segment.epoch > self.epoch and type_of(segment.values[0]) == _CLAIM)
        )

    def agrees_with(self, segment: Segment) -> bool:
        """Whether `segment`, which ends at or before the last record seen, can be part of what was seen."""
        if segment.last == self.seq:
            return self.is_(self.seq, segment.epoch, segment.values[-1])
        return self.epoch is None or segment.epoch <= self.epoch

    def take(self, segment: Segment) -> None:
        """Mark `segment`, the next one, as seen."""
        first, epoch, values = segment
        if epoch != self.epoch:
            self.epoch = epoch
            if type_of(values[0]) == _CLAIM:
                self.claims += (ClaimSeen(first, epoch, stored_bytes(values[0])),)
        self.seq = segment.last
        self.learn(values[-1])
