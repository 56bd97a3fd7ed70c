"""Reads batches of records in the form in which the scripts publish them. Pure."""

from __future__ import annotations

from playhead.client.tails.seen import Seen
from playhead.runtime.core.codec import decode_batch
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.segments import Segment

__all__ = ["new_part"]


def new_part(data: bytes, seen: Seen) -> Segment | None:
    """The new records of a published batch, perhaps none; None if the log must be read to know what follows.

    Raises:
        ForeignRecordError: If it is not a batch of playhead.
    """
    first, epoch, count, body = _head(data)
    if first > seen.seq + 1:  # a message was dropped on the way
        return None
    batch = Segment(first, epoch, decode_batch(body, count))
    if first == seen.seq + 1:
        return batch if seen.may_precede(batch) else None
    known = seen.seq + 1 - first
    if not seen.agrees_with(Segment(first, epoch, batch.values[:known])):  # the log is being rewritten
        return None
    return Segment(seen.seq + 1, epoch, batch.values[known:])


def _head(data: bytes) -> tuple[int, int, int, bytes]:
    """The first number, epoch and count of a published batch, and its records."""
    head, _, body = data.partition(b"\n")
    place, _, number = head.partition(b" ")
    first, _, epoch = place.partition(b"-")
    try:
        found = int(first), int(epoch), int(number), body
    except ValueError:
        found = 0, 0, 0, body
    if not 0 < found[2] <= len(body):
        raise ForeignRecordError(f"not a batch of playhead: {data[:40]!r}")
    return found
