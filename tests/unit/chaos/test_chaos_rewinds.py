"""A view that a failover rewinds: what it forgets counts as unseen, and only what the log lost may be forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chaos_logs import made, plan

from chaos.check_views import check_views, left_standing
from chaos.evidence import Evidence, View

__all__: list[str] = []

pytestmark = pytest.mark.anyio

JOINED: list[Any] = ["join", None]


def saw(place: str) -> list[Any]:
    return ["saw", place, f"digest of {place}", False]


def test_what_a_view_saw_behind_a_rewind_is_forgotten_and_what_it_saw_again_counts():
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
