"""What a reader has seen of a run: enough to notice that its log was written anew.

A failover of Redis may lose the end of a log that readers have seen. The owner then sends the same records again, or
another one goes on from what is left, and other records come to stand under numbers that were seen. A reader compares
the last record it gave out with what now stands in its place: logs grow only at their end, so if that one is the same,
all before it are.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from playhead.runtime.codec import encode_record
from playhead.runtime.errors import PlayheadError, RewindError
from playhead.runtime.events import Cursor, parse_cursor
from playhead.runtime.records import TERMINAL_TYPES, Entry, Record

if TYPE_CHECKING:
    from playhead.runtime.log.redis import RedisLog

__all__ = ["Seen"]

_CLAIM: Final = "run.claimed"


def _stored(record: Record) -> bytes:
    """What equality cannot tell: nan is not equal to itself."""
    return encode_record(record, limit=sys.maxsize)


class Seen:
    """The last record one reader has seen of a run.

    Args:
        after: The last entry itself, or a cursor. Of a bare number nothing can be checked.

    Attributes:
        seq: Its number; 0 for none.
        epoch: Its writer's; None if unknown.
        record: The record; None if unknown.
    """

    __slots__ = ("_claims", "epoch", "record", "run_id", "seq")

    def __init__(self, run_id: str, after: Cursor | Entry) -> None:
        self.run_id = run_id
        self.epoch: int | None
        self.record: Record | None
        if isinstance(after, Entry):
            self.seq, self.epoch, self.record = after
        else:
            self.seq, _, self.epoch = parse_cursor(after)
            self.record = None
        self._claims: list[Entry] = []

    @property
    def certain(self) -> bool:
        """Whether more is known than a number, so that it can be compared."""
        return self.epoch is not None and self.seq > 0

    def is_(self, entry: Entry) -> bool:
        """Whether `entry` is the record seen last."""
        seq, epoch, record = entry
        return (
            seq == self.seq
            and (self.epoch is None or epoch == self.epoch)
            and (self.record is None or record == self.record or _stored(record) == _stored(self.record))
        )

    def may_precede(self, entry: Entry) -> bool:
        """Whether `entry`, of the next number, can follow: an ownership begins with its claim, and they are counted up.

        If anything else comes next, its claim stands at a number that was seen as something else.
        """
        return (
            self.epoch is None
            or entry.epoch == self.epoch
            or (entry.record.type == _CLAIM and entry.epoch > self.epoch)
        )

    def begin(self, entry: Entry) -> None:
        """`entry` is the first seen of its epoch."""
        self.epoch = entry.epoch
        if entry.record.type == _CLAIM:
            self._claims.append(entry)

    async def rewound(self, log: RedisLog, *, found: int | None) -> RewindError:
        """The error that says so, with the last record that is surely common to what was seen and the present log."""
        common = 0
        with suppress(PlayheadError):  # it is worth naming, but not worth another error
            for claim in reversed(self._claims):
                if claim in await log.read(self.run_id, after=claim.seq - 1, limit=1):
                    common = await self._end_of(log, claim)
                    break
        return RewindError(self.run_id, expected=self.seq, found=found, common=common)

    async def _end_of(self, log: RedisLog, claim: Entry) -> int:
        """The last record seen that the owner of `claim` wrote: one owner never puts two records under one number."""
        at = claim.seq
        while page := await log.read(self.run_id, after=at):
            for seq, epoch, record in page:
                # Others write an end, and the cancel that caused it, with the epoch of the owner that was.
                ends = record.type in TERMINAL_TYPES or record.type == "signal.received"
                if epoch != claim.epoch or ends or seq >= self.seq:
                    return at
                at = seq
        return at
