"""A tail whose server accepts no writes names that cause, once, and no other."""

from __future__ import annotations

import pytest

from playhead.client.tails.actions import AskWorkers, End, Listen
from playhead.client.tails.state import TailState
from playhead.runtime.core.records import Entry, RunStateName, RunSubmitted
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.values import RunInfo

__all__: list[str] = []

FIRST = RunSubmitted(at=1, agent="a")
FULL = "Redis at localhost cannot take writes now: OOM"


def looking() -> TailState:
    """A tail that has seen record 1 and looks the run up."""
    state = TailState("run", Entry(1, 0, FIRST))
    state.on_page([Segment(1, 0, [FIRST])])
    state.on_silence(1)
    return state


def info(state: RunStateName) -> RunInfo:
    return RunInfo("run", state, "a", None, head=1, epoch=0, crashes=0, created=1, updated=1)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_the_cause_is_told_once_and_no_worker_is_blamed(state: RunStateName) -> None:
    tail = looking()
    action = tail.on_info(info(state), FULL)
    assert isinstance(action, Listen)
    assert action.notice is not None
    assert (action.notice.kind, FULL in action.notice.message) == ("refused", True)
    tail.on_silence(1)
    action = tail.on_info(info(state), FULL)
    assert isinstance(action, Listen)
    assert action.notice is None


def test_when_writes_are_accepted_again_a_queued_run_is_asked_about_as_before() -> None:
    tail = looking()
    tail.on_info(info("queued"), FULL)
    tail.on_silence(1)
    assert isinstance(tail.on_info(info("queued")), AskWorkers)


def test_while_its_owner_has_had_no_time_to_renew_nothing_is_said_of_the_owner() -> None:
    tail = looking()
    action = tail.on_info(info("running"), "")
    assert isinstance(action, Listen)
    assert action.notice is None


def test_a_run_that_has_ended_needs_no_writes() -> None:
    tail = TailState("run", 1)
    tail.on_page([])
    tail.on_silence(1)
    assert isinstance(tail.on_info(info("completed"), FULL), End)
