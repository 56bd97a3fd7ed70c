"""The page of two runs: all of it in one file, harmless and small enough whatever they hold."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from playhead.client.cli.page.diff import diff_page
from playhead.client.cli.page.html import LARGEST_PAGE
from playhead.runtime.core.records import Entry
from playhead.runtime.core.run_diff import run_diff
from playhead.runtime.core.timeline import timeline
from tests.support.eventful import eventful

__all__: list[str] = []

HOSTILE = "</script><script>alert(1)</script><!--<svg onload=alert(1)> {{data}}"


def page_of(left: list[Entry], right: list[Entry]) -> str:
    drawn = timeline(left), timeline(right)
    return diff_page(run_diff(left, right), names=("a", HOSTILE), numbers=("few", "many"), drawn=drawn)


def data_of(page: str) -> dict[str, Any]:
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


def test_the_page_has_both_runs_side_by_side_and_nothing_from_elsewhere():
    left, right = eventful(answer="It rains."), eventful(answer="It snows.")
    page = page_of(left, right)
    data = data_of(page)
    found = run_diff(left, right)
    assert [(cycle, same) for cycle, same, *_ in data["rows"]] == [
        (pair.either.cycle, pair.same) for pair in found.pairs
    ]
    assert data["where"].startswith("the first 52 records are the same; they part in the model's answer of cycle 2: ")
    (differs,) = [row for row in data["rows"] if not row[1]]
    assert ("It rains." in differs[2][0], "It snows." in differs[3][0]) == (True, True)
    assert json.loads(differs[3][3])["content"] == [{"text": "It snows."}]
    assert page.count("<svg") == 2
    assert set(re.findall(r"https?://[^\"\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in page


def test_a_hostile_text_is_only_text_on_the_page():
    page = page_of(eventful(prompt=HOSTILE), eventful(answer=HOSTILE))
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert data_of(page)["names"] == ["a", HOSTILE]


@pytest.mark.parametrize("length", [1_000, 9_000_000])
def test_what_is_too_long_for_the_page_is_left_out(length: int):
    page = page_of(eventful(answer="x" * length), eventful(answer="y" * length))
    assert len(page.encode()) <= LARGEST_PAGE
    said = [row[2][3] for row in data_of(page)["rows"] if not row[1]]
    assert (said[0] is None) == (length > 1_000)
