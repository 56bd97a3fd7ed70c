"""How long an ended run is kept is said for all runs, for an agent, for a state, or for both; the narrowest rule counts."""

from __future__ import annotations

import pytest

from playhead.runtime.log.values import DEFAULT_RETENTION_MS
from playhead.workers.options import WorkerOptions
from playhead.workers.retention import retention_of_texts

__all__: list[str] = []

HOUR, DAY = 3_600_000, 86_400_000


def options(*texts: str) -> WorkerOptions:
    return WorkerOptions(**retention_of_texts(texts))


def test_without_a_rule_every_run_is_kept_a_week() -> None:
    assert options().retention_of("support", "failed") == DEFAULT_RETENTION_MS == 7 * DAY
    assert options().retention_without_owner("support") == 7 * DAY


def test_the_narrowest_rule_counts_whatever_the_order() -> None:
    rules = ["2d", "*:cancelled=1w", "*:failed=30d", "support:*=12h", "support:failed=90d", "sales:cancelled=90s"]
    for given in (rules, rules[::-1]):
        kept = options(*given)
        assert kept.retention_of("support", "failed") == 90 * DAY
        assert kept.retention_of("support", "completed") == 12 * HOUR
        assert kept.retention_of("sales", "failed") == 30 * DAY
        assert kept.retention_of("sales", "cancelled") == 90_000
        assert kept.retention_of("sales", "completed") == 2 * DAY
        assert kept.retention_of("other", "cancelled") == 7 * DAY


def test_a_run_that_its_worker_does_not_end_is_kept_as_the_longer_of_a_failed_and_a_cancelled_one() -> None:
    assert options("1h", "*:failed=30d").retention_without_owner("support") == 30 * DAY
    assert options("1h", "*:cancelled=2d", "support:failed=3m").retention_without_owner("support") == 2 * DAY
    assert options("1h", "*:completed=2d").retention_without_owner("support") == HOUR


@pytest.mark.parametrize(
    "text", ["", "7", "7 d", "7min", "d", "-1d", "0d", "1e3s", "support:failed", "support:failed=", "a:b:c=1"]
)
def test_a_time_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--retention .*use a time such as 90s, 30m, 12h, 7d or 2w"):
        options(text)


@pytest.mark.parametrize(
    "text", ["support=1d", "support:paused=1d", "*=1d", ":failed=1d", "a b:failed=1d", "a:b:failed=1d"]
)
def test_a_rule_for_something_else_than_an_agent_and_a_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"AGENT:STATE, and STATE is one of"):
        options(text)


def test_a_rule_for_all_runs_or_a_time_of_more_than_a_century_is_refused() -> None:
    with pytest.raises(ValueError, match=r"retention has no rule '\*:\*': the time for all runs is retention_ms"):
        options("*:*=1d")
    for text in ("40000d", "support:failed=40000d"):
        with pytest.raises(ValueError, match=r"retention\w* .*must be at least 1 and at most 3162240000000, not 3456"):
            options(text)


def test_two_rules_for_the_same_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="given twice for support:failed"):
        options("support:failed=1d", "support:failed=2d")
    with pytest.raises(ValueError, match="given twice for all runs"):
        options("1d", "2d")
