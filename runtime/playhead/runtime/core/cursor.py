"""Cursors: the position of a reader in a run. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Cursor", "Position", "parse_cursor"]

Cursor = int | str
"""A position in a run: an `Event.cursor` or `Entry.cursor`, or a record's `seq` (the whole record was seen)."""

_WHOLE: Final = 1 << 30
_CURSOR: Final = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?(?:\.([0-9]{1,9}))?")


class Position(NamedTuple):
    """A parsed cursor.

    Attributes:
        seq: The number of the record.
        event: The last event of that record that was seen; beyond the last one if the whole record was seen.
        epoch: The epoch of the record, if the cursor holds it; with it a reader notices that the record was replaced.
    """

    seq: int
    event: int = _WHOLE
    epoch: int | None = None


def parse_cursor(cursor: Cursor | None) -> Position:
    """Parse a cursor: `41`, `"41"`, `"41-2"` (record 41, written by owner 2), `"41.0"` or `"41-2.0"` (its first event).

    Raises:
        ValueError: If it has none of these forms; the message names the value.
    """
    if cursor is None:
        return Position(0)
    found = _CURSOR.fullmatch(str(cursor))
    if found is None or isinstance(cursor, bool):
        raise ValueError(f"{cursor!r} is not a cursor: pass a record number such as 41, or an event's .cursor")
    seq, epoch, index = found.groups()
    return Position(int(seq), _WHOLE if index is None else int(index), None if epoch is None else int(epoch))
