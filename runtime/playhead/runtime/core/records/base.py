"""The base classes of all records, and the clock of their `at`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = [
    "CheckedRecord",
    "Record",
    "UnknownRecord",
    "now_ms",
]


def now_ms() -> int:
    """The wall clock in unix milliseconds, for `at`. One decision depends on it: see `ModelFailed`."""
    return time.time_ns() // 1_000_000


class Record:
    """The base class of all records; `dict(record)` is what is stored.

    Attributes:
        v: The version of the record type's fields.
        type: The type's name, `noun.verb_in_past_tense`.
        at: When the writer made it, in unix milliseconds.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        v: int
        type: str
        at: int

        def __iter__(self) -> Iterator[tuple[str, Any]]: ...


class CheckedRecord(BaseModel, Record):
    """The base class of records whose fields are checked when they are made."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    v: int = 1
    type: str
    at: int


class UnknownRecord(CheckedRecord):
    """A record of a type that this version does not know; it is kept unchanged and ignored by the fold."""
