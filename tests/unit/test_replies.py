"""What replies mean: a page of a stream becomes segments, by a short way for the usual page and an exact one for all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.records import CycleStarted, Entry
from playhead.runtime.log.redis.replies import segments_of

__all__: list[str] = []


def item(seq: int, epoch: int) -> tuple[bytes, list[bytes]]:
    """An entry as `XRANGE` gives it; its record tells its number."""
    return b"%d-%d" % (seq, epoch), [b"r", encode_record(CycleStarted(at=0, cycle=seq))]


def entry(seq: int, epoch: int) -> Entry:
    return Entry(seq, epoch, CycleStarted(at=0, cycle=seq))


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=12),
    st.lists(st.sampled_from([0, 0, 0, 1, 10]), min_size=12, max_size=12),
)
def test_a_page_keeps_every_entry_in_its_place_and_a_segment_is_of_one_owner_and_dense(
    steps: list[int], epochs: list[int]
) -> None:
    places: list[tuple[int, int]] = []
    for step, more in zip(steps, epochs, strict=False):
        seq, epoch = places[-1] if places else (0, 1)
        places.append((seq + step, epoch + more))
    found = segments_of("log", [item(*place) for place in places])
    assert [one for segment in found for one in segment.entries()] == [entry(*place) for place in places]
    joins = [before.epoch == after.epoch and before.last + 1 == after.first for before, after in pairwise(found)]
    assert not any(joins), "two segments that could be one"


def test_a_page_of_one_owner_is_one_segment() -> None:
    (segment,) = segments_of("log", [item(seq, 11) for seq in range(98, 103)])
    assert (segment.first, segment.last, segment.epoch) == (98, 102, 11)


def test_epochs_that_end_alike_are_not_taken_for_one() -> None:
    found = segments_of("log", [item(1, 1), item(2, 11), item(3, 21)])
    assert [(segment.first, segment.epoch) for segment in found] == [(1, 1), (2, 11), (3, 21)]


def test_nothing_is_no_segment() -> None:
    assert segments_of("log", []) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([b"not", b"ours"], r"entry 2-1: not written by playhead \(fields \['not'\]\)"),
        ([b"r", b"x", b"s", b"y"], r"entry 2-1: not written by playhead \(fields \['r', 's'\]\)"),
        ([b"r", b"\xc1"], "entry 2-1: "),
        ([b"r", b"\x01"], "entry 2-1: not a playhead record: a int"),
    ],
)
def test_an_entry_that_is_not_ours_is_named_wherever_it_stands(fields: list[bytes], says: str) -> None:
    page: list[Any] = [item(1, 1), (b"2-1", fields), item(3, 1)]
    with pytest.raises(ForeignRecordError, match=f"stream log, {says}"):
        segments_of("log", page)
