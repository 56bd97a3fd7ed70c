"""`RetryPolicy` and `ModelRetryStrategy`: when a model call is made again, and how long that waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime import Agent, ModelRetryStrategy, RetryPolicy
from playhead.runtime.core.retry import rest_of_wait
from playhead.runtime.core.retry_strategy import Waits, recorded_waits

__all__: list[str] = []

FOUR = RetryPolicy(max_attempts=6, initial_delay=4.0, max_delay=240.0, max_total_delay=600.0)
DELAYS = st.floats(0, 1e6)


def delays(policy: Waits, *, draw: float = 1.0, asked: float | None = None) -> list[float]:
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
    if "max_total_delay" not in options:
        with pytest.raises(ValueError, match=named):
            ModelRetryStrategy(**options)


DEFAULT = ModelRetryStrategy()


def test_the_default_schedule_is_that_of_strands() -> None:
    assert delays(DEFAULT) == delays(DEFAULT, draw=0.0) == [4, 8, 16, 32, 64]
    assert delays(ModelRetryStrategy(max_attempts=9)) == [4, 8, 16, 32, 64, 128, 240, 240]
    assert Agent().retry == DEFAULT


def test_a_strategy_waits_as_long_as_the_provider_asks_up_to_its_longest_wait() -> None:
    assert delays(DEFAULT, asked=20.0) == [20.0, 20.0, 20.0, 32, 64]
    assert DEFAULT.delay(failures=1, waited=0.0, asked=240.1, draw=0.0) is None


@pytest.mark.parametrize("argument", ["retry", "retry_strategy"])
def test_an_agent_takes_a_policy_under_both_names_and_refuses_what_is_none(argument: str) -> None:
    for policy in (None, RetryPolicy(), ModelRetryStrategy(max_attempts=2)):
        assert Agent(**{argument: policy}).retry == policy  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=f"{argument} must be a ModelRetryStrategy or a RetryPolicy, .* not 3"):
        Agent(**{argument: 3})  # pyright: ignore[reportArgumentType]


def test_a_policy_under_both_names_is_refused() -> None:
    with pytest.raises(ValueError, match="give retry or retry_strategy, not both"):
        Agent(retry=None, retry_strategy=ModelRetryStrategy())


def test_an_object_of_strands_counts_with_its_numbers_and_what_it_calls_retryable() -> None:
    class Strategy:
        """As Strands' `ModelRetryStrategy` has them."""

        _max_attempts, _initial_delay, _max_delay = 3, 1, 100

        def is_retryable(self, exception: Exception) -> bool:
            return isinstance(exception, LookupError)

    taken = Agent(retry_strategy=Strategy()).retry
    assert isinstance(taken, ModelRetryStrategy)
    assert delays(taken) == [1, 2]
    assert [taken.is_retryable(error) for error in (KeyError(), ConnectionError(), ValueError())] == [True, True, False]


@pytest.mark.parametrize("policy", [None, RetryPolicy(max_attempts=3), ModelRetryStrategy(max_attempts=3)])
def test_a_definition_tells_the_policy(policy: Any) -> None:
    recorded = recorded_waits(Agent(retry=policy).definition.retry)
    assert recorded == (policy or ModelRetryStrategy(max_attempts=1))


@pytest.mark.parametrize(
    ("passed_ms", "rest"),
    [(0, 4.0), (1000, 3.0), (3999, 0.001), (4000, 0.0), (9000, 0.0), (-1, 4.0), (-3_600_000, 4.0), (3_600_000, 0.0)],
)
def test_the_rest_of_a_wait_is_never_longer_than_the_wait_whatever_the_clocks_say(passed_ms: int, rest: float) -> None:
    began = 1_800_000_000_000
    assert rest_of_wait(4.0, since=began, now=began + passed_ms) == pytest.approx(rest)
