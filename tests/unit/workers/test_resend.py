"""A server that is away is said once, and so is its return."""

from __future__ import annotations

import logging

import anyio
import pytest

from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError
from playhead.workers.resend import Outage, retry_until_answered
from tests.support.jumping import JUMPING

__all__: list[str] = []

AWAY = LogUnavailableError("cannot reach Redis at localhost:1")


@pytest.fixture
def anyio_backend() -> tuple[str, object]:
    """Waits between tries take no time."""
    return JUMPING


def test_an_outage_of_many_refused_calls_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for what in ("claim", "wait for work", "announce") * 10:
        outage.refused(what, AWAY)
    outage.answered()
    outage.answered()
    first, last = caplog.messages
    assert first == "claim: cannot reach Redis at localhost:1; trying again"
    assert last.startswith("Redis is back, after ")


def test_another_reason_is_another_line_and_a_second_outage_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    outage.refused("claim", AWAY)
    outage.refused("claim", LogUnavailableError("loading its data"))
    outage.answered()
    outage.refused("claim", AWAY)
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "claim: cannot reach Redis at localhost:1; trying again",
        "claim: loading its data; trying again",
        "Redis is back",
        "claim: cannot reach Redis at localhost:1; trying again",
    ]


def test_a_refusal_of_one_call_is_not_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    outage.refused("inbox of r1", PlayheadError("its key is damaged"))
    outage.answered()
    assert caplog.messages == ["inbox of r1: its key is damaged; trying again"]


def test_a_refusal_for_good_is_raised() -> None:
    with pytest.raises(RedisAuthError):
        Outage().refused("claim", RedisAuthError("wrong password"))


@pytest.mark.anyio
async def test_a_call_that_is_sent_again_says_so_once_and_when_it_was_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0

    async def call() -> str:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise AWAY
        return "done"

    with caplog.at_level(logging.WARNING), anyio.fail_after(10):
        assert await retry_until_answered(call, "append") == "done"
    first, last = caplog.messages
    assert first == "append: cannot reach Redis at localhost:1; trying again"
    assert last.startswith("append: Redis is back, after ")


def test_a_workers_log_does_not_advise_a_person_at_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    away = LogUnavailableError("cannot reach Redis at localhost:1: refused.", advice="Is it running?")
    assert str(away) == "cannot reach Redis at localhost:1: refused. Is it running?"
    Outage().refused("claim", away)
    assert caplog.messages == ["claim: cannot reach Redis at localhost:1: refused; trying again"]
