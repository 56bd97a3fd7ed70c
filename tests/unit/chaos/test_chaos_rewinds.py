"""A view that a failover rewinds: what it forgets counts as unseen, and only what the log lost may be forgotten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.check_views import check_views, left_at, left_standing, made_again
from chaos.evidence import Evidence, View
from tests.unit.chaos.chaos_logs import CANCEL, made, plan

__all__: list[str] = []

pytestmark = pytest.mark.anyio

JOINED: list[Any] = ["join", None]


def saw(place: str) -> list[Any]:
    return ["saw", place, f"digest of {place}", False]


def test_what_a_view_saw_after_a_rewind_is_forgotten_and_what_it_saw_again_counts():
    lines = [JOINED, saw("1-0"), saw("2-1"), saw("3-1"), ["rewind", 1], JOINED, saw("2-2"), ["end", None, None]]
    assert left_standing(lines) == ([saw("1-0"), saw("2-2")], [[saw("2-1"), saw("3-1")]])


def test_the_events_of_the_record_that_a_rewind_names_stay():
    lines = [saw("4.0-1"), saw("4.1-1"), saw("5.0-1"), ["rewind", 4]]
    assert left_standing(lines) == ([saw("4.0-1"), saw("4.1-1")], [[saw("5.0-1")]])


def test_each_rewind_is_told_apart():
    lines = [saw("1-0"), ["rewind", 0], saw("1-0"), ["rewind", 1]]
    assert left_standing(lines) == ([saw("1-0")], [[saw("1-0")], []])


def with_forgotten(evidence: Evidence, *groups: list[tuple[str, str]]) -> Evidence:
    records = next(view for view in evidence.views if view.what == "records")
    views: list[View] = [replace(records, forgotten=groups)]
    return replace(evidence, views=views)


async def test_a_view_may_forget_what_the_log_lost(tmp_path: Path):
    evidence = await made(plan(), folder=tmp_path)
    stands = evidence.views[0].seen[2]
    assert check_views(with_forgotten(evidence, [stands, ("4-1", "other bytes")], [])) == []


async def test_a_view_that_was_told_to_forget_what_the_log_holds_is_found(tmp_path: Path):
    evidence = await made(plan(), folder=tmp_path)
    (found,) = check_views(with_forgotten(evidence, list(evidence.views[0].seen[2:4])))
    assert (found.kind, found.seq) == ("reader", 3)


async def test_a_view_that_forgot_and_was_not_shown_the_rest_again_is_found(tmp_path: Path):
    evidence = await made(plan(), folder=tmp_path)
    view = replace(evidence.views[0], seen=evidence.views[0].seen[:3], forgotten=[[("4-1", "other bytes")]])
    assert {one.kind for one in check_views(replace(evidence, views=[view]))} == {"gap"}


def test_a_view_has_left_wherever_it_joined_again_and_at_its_end():
    lines = [
        JOINED,
        saw("1-0"),
        saw("2-1"),
        JOINED,
        saw("3-1"),
        JOINED,
        ["rewind", 2],
        JOINED,
        saw("3-2"),
        ["end", None, None],
    ]
    assert left_at(lines) == {0: False, 2: False, 3: True}


def test_a_view_that_a_rewind_reaches_after_its_end_has_ended_where_it_had():
    lines = [JOINED, saw("1-0"), saw("2-0"), ["end", None, None], ["again"], JOINED, saw("3-0"), ["end", None, None]]
    assert left_at(lines) == {0: False, 2: True, 3: True}


def seen_otherwise(
    evidence: Evidence, seqs: Collection[int], left_at: dict[int, bool], *, fails_over: bool = True
) -> Evidence:
    """With one view, which saw other bytes in these places."""
    records = evidence.views[0]
    seen = [(place, "other bytes" if n in seqs else digest) for n, (place, digest) in enumerate(records.seen, 1)]
    return replace(evidence, views=[replace(records, seen=seen, left_at=left_at)], fails_over=fails_over)


async def test_a_view_cannot_tell_what_was_lost_with_its_claim_and_made_again_while_it_was_away(tmp_path: Path):
    evidence = seen_otherwise(await made(plan(), folder=tmp_path), {2, 3, 4}, {3: False, 4: False})
    assert check_views(evidence) == []
    assert made_again(evidence, evidence.views[0]) == {1, 2, 3}


async def test_a_view_that_had_ended_cannot_tell_that_the_end_of_a_run_without_an_owner_was_made_again(tmp_path: Path):
    evidence = await made(plan(), folder=tmp_path, said={5: CANCEL})
    head = len(evidence.entries)
    assert [entry.record.type for entry in evidence.entries[-2:]] == ["message.added", "run.cancelled"]
    assert check_views(seen_otherwise(evidence, {head}, {head: True})) == []


async def test_a_view_that_had_ended_cannot_tell_that_an_owner_went_on_where_an_end_was_lost(tmp_path: Path):
    evidence = await made(plan(), folder=tmp_path)
    assert evidence.entries[6].record.type == "model.chunk"
    assert check_views(seen_otherwise(evidence, {6, 7}, {7: True})) == []


@pytest.mark.parametrize(
    ("seqs", "left_at", "fails_over"),
    [
        ({2, 3, 4}, {4: False}, False),  # a single server loses nothing
        ({2, 3, 4}, {6: False}, True),  # it was there when the other records came
        ({3, 4}, {4: False}, True),  # the claim is the same, so its owner was there to send the same bytes again
        ({3, 4, 5}, {5: True}, True),  # three records are not written without an owner
        ({2, 4}, {4: False}, True),  # what is lost is the end of a log, not some of it
    ],
)
async def test_a_view_that_could_tell_and_did_not_is_found(
    tmp_path: Path, seqs: set[int], left_at: dict[int, bool], fails_over: bool
):
    evidence = seen_otherwise(await made(plan(), folder=tmp_path), seqs, left_at, fails_over=fails_over)
    assert {one.kind for one in check_views(evidence)} == {"unlogged"}
