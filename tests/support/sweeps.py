"""Sweeps over many values or places: a quick run tries some, the suite more, and `PLAYHEAD_SWEEPS=whole` all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import pytest

from playhead.runtime.core.records import Entry, ModelChunk, Record

__all__ = ["WHOLE", "places_of_each_kind", "some", "sweep"]

WHOLE: Final = os.environ.get("PLAYHEAD_SWEEPS") == "whole"
"""Whether a sweep leaves out nothing, and random examples are as many as hypothesis tries by default."""

_T = TypeVar("_T")


def sweep(values: Sequence[Any], *, step: int) -> list[Any]:
    """The values as parameters of a test; all but every `step`-th are marked exhaustive, so `make quick` leaves them out."""
    return [
        value if number % step == 0 else pytest.param(value, marks=pytest.mark.exhaustive)
        for number, value in enumerate(values)
    ]


def some(places: Sequence[_T], *, step: int, of: str) -> Sequence[_T]:
    """Every `step`-th of the places, or all if sweeps are whole. With which it begins depends on the name of the test, `of`:
    together, many tests come to places of all kinds."""
    return places if WHOLE else places[sum(of.encode()) % step :: step]


def places_of_each_kind(log: Sequence[Entry], *, first: int = 1) -> list[int]:
    """The records, from number `first` on, after which an owner of the run dies.

    Of those with the same kind of record before and after the cut it is the first, or each if sweeps are whole.
    """
    kinds = [_kind(entry.record) for entry in log]
    places = range(first, len(log))
    if WHOLE:
        return list(places)
    found: dict[tuple[str, str], int] = {}
    for place in places:
        found.setdefault((kinds[place - 1], kinds[place]), place)
    return list(found.values())


def _kind(record: Record) -> str:
    if not isinstance(record, ModelChunk):
        return record.type
    return "/".join([*record.chunk, *record.chunk.get("contentBlockDelta", {}).get("delta", {})])
