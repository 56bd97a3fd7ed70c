"""What the options mean that say which runs a command is about."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from playhead.client.cli.filters import metadata_of, time_of

__all__: list[str] = []


@pytest.mark.parametrize(
    ("age", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_an_age_is_a_number_and_a_unit(age: str, seconds: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    assert time_of("--since", age) == (2_000_000_000 - seconds) * 1000


@pytest.mark.parametrize("date", ["2026-11-27", "2026-11-27T09:30", "2026-11-27 09:30:15", "2026-11-27T09:30:00+02:00"])
def test_a_date_without_a_zone_is_in_local_time(date: str):
    assert time_of("--since", date) == datetime.fromisoformat(date).timestamp() * 1000


@pytest.mark.parametrize("text", ["", "7", "7x", "soon", "2026-13-01", "-1d"])
def test_another_form_is_refused_with_what_is_accepted(text: str):
    with pytest.raises(ValueError, match=r"--until must be an age such as 7d, .* or a date such as 2026-11-27"):
        time_of("--until", text)


def test_a_tag_without_a_value_is_true_and_a_value_may_have_an_equals_sign():
    assert metadata_of(["nightly", "query=a=b", "empty="]) == {"nightly": True, "query": "a=b", "empty": ""}
