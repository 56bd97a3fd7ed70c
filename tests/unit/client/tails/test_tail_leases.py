"""What a tail makes of its run's lease: a notice when the owner is silent, and the next look when one may be due."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.client.tails.actions import Action, AskLease, Give, Listen, Look
from playhead.client.tails.notice import Notice
from playhead.client.tails.state import TailState
from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.values import LeaseInfo, RunInfo

__all__: list[str] = []

RUNNING = RunInfo("r", "running", "a", None, head=2, epoch=1, crashes=0, created=1, updated=1, worker="w1")
NOON = 43_200_000  # of the first of January 1970, in milliseconds
PAGE = [Segment(1, 0, [RunSubmitted(at=1, agent="a")]), Segment(2, 1, [RunClaimed(at=1, worker="w1")])]


def held(silent_ms: int, *, length_ms: int = 10_000) -> LeaseInfo:
    """The lease of an owner that renewed it at noon and has been silent since."""
    return LeaseInfo(now=NOON + silent_ms, ends=NOON + length_ms, length_ms=length_ms)


def asking(**options: Any) -> TailState:
    """A tail that has looked at a run that runs."""
    state = TailState("r", 0, **options)
    assert state.on_page(PAGE) == Give(PAGE)
    assert state.ask() == Listen(1.0)
    assert state.on_silence(1) == Look()
    assert state.on_info(RUNNING) == AskLease()
    return state


def again(state: TailState) -> TailState:
    """The same tail after its next look."""
    assert state.on_silence(1) == Look()
    assert state.on_info(RUNNING) == AskLease()
    return state


def notice_of(action: Action) -> Notice | None:
    assert isinstance(action, Listen)
    assert action.reap
    return action.notice


@pytest.mark.parametrize(
    ("length_ms", "renewal_due_ms", "late_ms"), [(10_000, 3_333, 1_000), (2_000, 666, 500), (60_000, 20_000, 1_000)]
)
def test_an_owner_is_silent_at_most_a_second_after_the_renewal_that_is_missing(
    length_ms: int, renewal_due_ms: int, late_ms: int
) -> None:
    overdue = renewal_due_ms + late_ms
    assert notice_of(asking().on_lease(held(overdue - 1, length_ms=length_ms))) is None
    notice = notice_of(asking().on_lease(held(overdue, length_ms=length_ms)))
    assert notice is not None
    assert (notice.kind, notice.since, notice.until) == ("silent", NOON, NOON + length_ms)


def test_the_notice_says_since_when_and_until_when() -> None:
    notice = notice_of(asking().on_lease(held(4_400)))
    assert notice is not None
    assert notice.message == (
        "run r: its worker w1 has not renewed its lease for 4.4 s, since 12:00:00 UTC; it was killed, cut off or paused. "
        "Waiting until 12:00:10 UTC (5.6 s more), then another worker may take over."
    )


def test_a_silent_owner_is_told_once_and_once_more_after_it_was_heard() -> None:
    state = asking()
    assert notice_of(state.on_lease(held(5_000))) is not None
    assert notice_of(again(state).on_lease(held(6_000))) is None
    assert notice_of(again(state).on_lease(held(1_000))) is None, "it renewed"
    assert notice_of(again(state).on_lease(held(5_000))) is not None


def test_a_tail_looks_when_a_renewal_is_overdue_and_when_the_lease_ends() -> None:
    for silent_ms, listens in ((3_500, 0.833), (2_000, 2.0), (9_300, 0.7), (9_900, 0.5), (10_500, 2.0)):
        action = asking().on_lease(held(silent_ms))
        assert isinstance(action, Listen)
        assert action.seconds == listens


def test_of_a_lease_whose_length_is_not_known_only_the_end_is_told() -> None:
    early = LeaseInfo(now=NOON, ends=NOON + 1, length_ms=0)
    assert notice_of(asking().on_lease(early)) is None
    notice = notice_of(asking().on_lease(LeaseInfo(now=NOON, ends=NOON, length_ms=0)))
    assert notice is not None
    assert (notice.since, notice.until) == (None, NOON)


def test_a_lease_that_cannot_be_read_changes_nothing() -> None:
    assert asking().on_lease(None) == Listen(2.0, None, reap=True)


def test_an_unreachable_server_is_told_and_the_lease_is_asked_for_at_the_next_look() -> None:
    state = asking()
    notice = notice_of(state.on_unreachable("away"))
    assert notice is not None
    assert notice.kind == "unreachable"
    assert state.on_silence(1) == Look()
