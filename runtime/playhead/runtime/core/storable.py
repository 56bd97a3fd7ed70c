"""Checks that the log can store a caller's values; in-process runs and the fleet share them."""

from __future__ import annotations

from typing import Any, Final

from playhead.runtime.core.codec import encode_record, pack
from playhead.runtime.core.errors import EncodingError, RecordTooLargeError
from playhead.runtime.core.records import Record

__all__ = ["ANY_SIZE", "check_size", "storable"]

ANY_SIZE: Final = 1 << 40
"""No limit, for a record whose size is checked elsewhere."""


def check_size(what: str, record: Record, *, limit: int) -> None:
    """Raise RecordTooLargeError if a record is larger than `limit` bytes."""
    size = len(encode_record(record, limit=ANY_SIZE))
    if size > limit:
        raise RecordTooLargeError(what, size=size, limit=limit)


def storable(values: dict[str, Any]) -> dict[str, Any]:
    """The entries whose values are plain data; other objects stay with the caller and are never stored."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        try:
            pack(value)
        except EncodingError:
            continue
        kept[key] = value
    return kept
