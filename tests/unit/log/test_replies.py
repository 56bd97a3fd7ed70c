"""What replies mean: the answers of scripts get their names, a page of a stream becomes segments."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.records import CycleStarted, Entry
from playhead.runtime.log.redis.replies import (
    INFO_FIELDS,
    SignalReply,
    claim_of,
    info_of,
    renewals_of,
    segments_of,
    write_result_of,
    write_results_of,
)
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import Claim, Renewal, RunInfo, WriteResult, WriteStatus

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


def test_no_entries_give_no_segment() -> None:
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
def test_an_entry_that_is_not_ours_is_named_at_any_place(fields: list[bytes], says: str) -> None:
    page: list[Any] = [item(1, 1), (b"2-1", fields), item(3, 1)]
    with pytest.raises(ForeignRecordError, match=f"stream log, {says}"):
        segments_of("log", page)


# The answers of the scripts


def test_the_statuses_have_the_same_names_and_numbers_in_the_scripts() -> None:
    table = re.search(r"local STATUS = \{(.*)\}", Script("append").text)
    assert table is not None
    assert dict(re.findall(r"(\w+) = (\d+)", table[1])) == {status.name: str(status.value) for status in WriteStatus}


def test_each_run_of_an_append_has_its_own_result() -> None:
    assert write_results_of([0, 7, 1, 3, 2, 0]) == [
        WriteResult(WriteStatus.OK, 7, 1),
        WriteResult(WriteStatus.FENCED, 2, 0),
    ]
    assert write_result_of([5, 7, 1]) == WriteResult(WriteStatus.WAITING, 7, 1)


def test_an_answer_that_lacks_a_number_is_not_taken_for_one_of_fewer_runs() -> None:
    with pytest.raises(ValueError, match="zip"):
        write_results_of([0, 7, 1, 3])


def test_a_renewal_says_of_each_run_if_it_is_ours_and_how_many_signals_wait() -> None:
    assert renewals_of([1, 2, 0, 0]) == [Renewal(ours=True, inbox=2), Renewal(ours=False, inbox=0)]


def test_a_claim_has_its_token_and_no_session_where_the_run_has_none() -> None:
    assert claim_of(None, token="t") is None
    begun = [b"r", b"2", b"9", b"a", b"", b"1", b"3"]
    assert claim_of([*begun, b"0", b"0", None], token="t") == Claim("r", "t", 2, 9, "a", None, 1, 3)
    crashed = Claim("r", "t", 2, 9, "a", None, 1, 3, crash_streak=1, idle_owners=2, crash_end="was killed")
    assert claim_of([*begun, b"1", b"2", b"was killed"], token="t") == crashed


def test_a_run_of_a_version_that_counted_no_streak_has_none() -> None:
    claim = claim_of([b"r", b"2", b"9", b"a", b"s", b"1", b"0", None, None, None], token="t")
    assert claim == Claim("r", "t", 2, 9, "a", "s", 1, 0)


def test_a_signal_is_answered_with_the_state_and_the_interrupts_that_are_not_open() -> None:
    assert SignalReply.of(None) is None
    assert SignalReply.of([b"queued"]) == SignalReply("queued", [])
    assert SignalReply.of([b"paused", b"i1", b"\xed\xa0\x80"]) == SignalReply("paused", ["i1", "\ud800"])


def test_a_run_is_told_by_the_names_of_its_fields() -> None:
    fields = dict.fromkeys(INFO_FIELDS, b"") | {"state": b"running", "agent": b"a", "head": b"4", "worker": b"w"}
    assert info_of("r", list(fields.values())) == RunInfo("r", "running", "a", None, 4, 0, 0, 0, 0, worker="w")
    assert info_of("r", [None] * len(INFO_FIELDS)) is None
