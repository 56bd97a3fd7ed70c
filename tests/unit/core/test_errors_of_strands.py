"""An `except` of Strands' exceptions catches playhead's of the same meaning."""

from __future__ import annotations

import pytest
from strands.types import exceptions as theirs

from playhead.runtime import (
    AgentBusyError,
    ContextWindowOverflowException,
    MaxTokensReachedException,
    ModelThrottledException,
    ModelUnavailableError,
    PlayheadError,
    SessionExistsError,
    SessionHeldError,
    SessionNotFoundError,
    StructuredOutputException,
)
from playhead.runtime.core.errors import remote_error

__all__: list[str] = []

SAME: list[tuple[PlayheadError, type[Exception]]] = [
    (MaxTokensReachedException("the text"), theirs.MaxTokensReachedException),
    (ContextWindowOverflowException("the text"), theirs.ContextWindowOverflowException),
    (ModelThrottledException("the text", retry_after=2.0), theirs.ModelThrottledException),
    (StructuredOutputException("the text"), theirs.StructuredOutputException),
    (AgentBusyError("the text"), theirs.ConcurrencyException),
    (SessionNotFoundError("s"), theirs.SessionException),
    (SessionHeldError("s", "r", state="running"), theirs.SessionException),
    (SessionExistsError("s"), theirs.SessionException),
]


@pytest.mark.parametrize(("ours", "caught_as"), SAME, ids=lambda one: getattr(one, "__name__", type(one).__name__))
def test_except_with_the_class_of_strands_catches_ours(ours: PlayheadError, caught_as: type[Exception]) -> None:
    caught: list[Exception] = []
    try:
        raise ours
    except caught_as as error:
        caught.append(error)
    assert caught == [ours]
    with pytest.raises(PlayheadError):
        raise ours


@pytest.mark.parametrize(("ours", "caught_as"), SAME[:4], ids=lambda one: getattr(one, "__name__", "ours"))
def test_so_it_is_with_what_a_reader_raises_for_a_worker(ours: PlayheadError, caught_as: type[Exception]) -> None:
    with pytest.raises(caught_as, match="the text") as raised:
        raise remote_error(type(ours).__name__, "the text", run_id="r")
    assert isinstance(raised.value, type(ours))


def test_the_bases_change_nothing_else_of_the_exception() -> None:
    throttled = ModelThrottledException("slow down", retry_after=2.0)
    assert (str(throttled), throttled.message, throttled.retry_after) == ("slow down", "slow down", 2.0)
    assert isinstance(throttled, ModelUnavailableError)
    assert throttled.transient
    assert ModelThrottledException().args == ("",)
    assert StructuredOutputException("none").message == "none"


def test_an_exception_of_strands_is_not_caught_as_another() -> None:
    with pytest.raises(MaxTokensReachedException) as raised:
        raise MaxTokensReachedException("cut")
    assert not isinstance(raised.value, theirs.ContextWindowOverflowException | theirs.SessionException)
    assert not isinstance(PlayheadError("x"), theirs.SessionException)
