"""The error for a run that is not there says what can have happened to this one."""

from __future__ import annotations

import pytest

from playhead.client.tails import notice
from playhead.client.tails.notice import run_not_found
from playhead.runtime.core.ids import made_at, new_run_id
from playhead.runtime.core.records import now_ms

__all__: list[str] = []

DAY_MS = 86_400_000


def test_an_id_tells_when_it_was_made():
    before = now_ms()
    made = made_at(new_run_id(shard=300))
    assert made is not None
    assert before <= made <= now_ms()
    assert [made_at(text) for text in ("mine", "0-archived", "", "-" + "0" * 19, "0-" + "u" * 19)] == [None] * 5


@pytest.mark.parametrize(
    ("age_ms", "says"),
    [
        (5_000, "its id was made 5 seconds ago, so it has not been removed for its age"),
        (3 * 3_600_000, "its id was made 3 hours ago, so it has not been removed for its age"),
        (-5_000, "its id was made 0 seconds ago"),
        (-DAY_MS, "its id has a time that is still to come: it was never submitted here"),
        (12 * DAY_MS, "its id was made 12 days ago, and the usual retention is 7 days, so it was removed; or it was"),
    ],
)
def test_the_age_of_the_id_tells_whether_its_retention_can_have_ended(
    age_ms: int, says: str, monkeypatch: pytest.MonkeyPatch
):
    run_id = new_run_id()
    made = made_at(run_id)
    assert made is not None
    monkeypatch.setattr(notice, "now_ms", lambda: made + age_ms)
    assert says in str(run_not_found(run_id))
    assert "Redis was emptied" in str(run_not_found(run_id)) or not -DAY_MS < age_ms < 7 * DAY_MS


def test_a_run_that_was_read_before_was_there_and_an_id_of_the_callers_own_says_nothing():
    assert "its records up to 41 were read; since then Redis was emptied" in str(run_not_found("mine", seen=41))
    assert "it was never submitted here" in str(run_not_found("mine"))
