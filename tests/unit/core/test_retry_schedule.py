"""`RetryPolicy`: when a model call is made again, and how long that waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime import RetryPolicy
from playhead.runtime.core.retry import check_retry, rest_of_wait

__all__: list[str] = []

FOUR = RetryPolicy(max_attempts=6, initial_delay=4.0, max_delay=240.0, max_total_delay=600.0)
DELAYS = st.floats(0, 1e6)


def delays(policy: RetryPolicy, *, draw: float = 1.0, asked: float | None = None) -> list[float]:
    """The waits of a call that always fails."""
    found: list[float] = []
    while (delay := policy.delay(failures=len(found) + 1, waited=sum(found), asked=asked, draw=draw)) is not None:
        found.append(delay)
    return found


def test_the_limit_of_each_wait_is_twice_that_of_the_one_before() -> None:
    assert delays(FOUR) == [4.0, 8.0, 16.0, 32.0, 64.0]
    assert delays(FOUR, draw=0.25) == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert delays(FOUR, draw=0.0) == [0.0] * 5, "full jitter: a wait may be as short as nothing"


def test_no_wait_is_longer_than_the_longest() -> None:
    assert delays(RetryPolicy(max_attempts=6, initial_delay=4.0, max_delay=10.0)) == [4.0, 8.0, 10.0, 10.0, 10.0]


def test_the_waits_together_are_no_longer_than_their_limit() -> None:
    assert delays(RetryPolicy(max_attempts=100, initial_delay=4.0, max_total_delay=30.0)) == [4.0, 8.0, 16.0]


def test_one_attempt_is_never_followed_by_another() -> None:
    assert delays(RetryPolicy(max_attempts=1)) == []


def test_a_wait_is_at_least_as_long_as_the_provider_asked() -> None:
    assert delays(FOUR, draw=0.5, asked=6.0) == [6.0, 6.0, 8.0, 16.0, 32.0]


def test_a_provider_that_asks_for_more_than_the_longest_wait_is_not_called_too_early_but_not_again() -> None:
    assert FOUR.delay(failures=1, waited=0.0, asked=240.0, draw=0.5) == 240.0
    assert FOUR.delay(failures=1, waited=0.0, asked=240.1, draw=0.5) is None
    assert FOUR.delay(failures=4, waited=580.0, asked=21.0, draw=0.5) is None


@given(st.integers(1, 10_000), DELAYS, DELAYS, DELAYS, st.floats(0, 1), DELAYS, st.integers(1, 10_000))
def test_a_delay_keeps_every_limit_whatever_they_are(
    attempts: int, initial: float, longest: float, total: float, draw: float, waited: float, failures: int
) -> None:
    policy = RetryPolicy(attempts, initial, longest, total)
    delay = policy.delay(failures=failures, waited=waited, asked=None, draw=draw)
    if delay is not None:
        assert failures < attempts
        assert 0 <= delay <= longest
        assert waited + delay <= total + 1e-6


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_attempts": 0}, "max_attempts .* not 0"),
        ({"max_attempts": True}, "max_attempts .* not True"),
        ({"max_attempts": 2.0}, r"max_attempts .* not 2\.0"),
        ({"initial_delay": -1}, "initial_delay .* not -1"),
        ({"max_delay": float("nan")}, "max_delay .* not nan"),
        ({"max_total_delay": float("inf")}, "max_total_delay .* not inf"),
        ({"max_delay": "4"}, "max_delay .* not '4'"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_value(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RetryPolicy(**options)


def test_what_is_not_a_policy_is_refused_with_the_value() -> None:
    check_retry(None)
    check_retry(RetryPolicy())
    with pytest.raises(TypeError, match="retry must be a RetryPolicy, or None for no retries, not 3"):
        check_retry(3)


@pytest.mark.parametrize(
    ("passed_ms", "rest"),
    [(0, 4.0), (1000, 3.0), (3999, 0.001), (4000, 0.0), (9000, 0.0), (-1, 4.0), (-3_600_000, 4.0), (3_600_000, 0.0)],
)
def test_the_rest_of_a_wait_is_never_longer_than_the_wait_whatever_the_clocks_say(passed_ms: int, rest: float) -> None:
    began = 1_800_000_000_000
    assert rest_of_wait(4.0, since=began, now=began + passed_ms) == pytest.approx(rest)
