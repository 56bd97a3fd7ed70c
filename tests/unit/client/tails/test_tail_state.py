"""What a tail does in each situation: the table of `TailState`, without a log, a hub or a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from playhead.client.tails.actions import (
    Action,
    AskHolder,
    AskLease,
    AskWorkers,
    End,
    Fail,
    Give,
    Listen,
    Look,
    Read,
    ReadPause,
    Rest,
    Rewound,
)
from playhead.client.tails.seen import ClaimSeen, stored_bytes
from playhead.client.tails.state import PAGE, TailState
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import (
    ForeignRecordError,
    GapError,
    NoWorkerError,
    PlayheadError,
    RewindError,
    RunNotFoundError,
)
from playhead.runtime.core.records import Entry, RunClaimed, RunCompleted, RunPaused, RunStateName, RunSubmitted
from playhead.runtime.core.segments import Segment, Stored, record_of
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__: list[str] = []

SUBMITTED = RunSubmitted(at=1, agent="a")
CLAIMED = RunClaimed(at=1, worker="w1")
OTHER_CLAIMED = RunClaimed(at=1, worker="w2")
ENDED = RunCompleted(at=1, result={})
PAUSED = RunPaused(at=1, interrupts=[{"id": "q", "name": "sure", "reason": None, "response": None}], result={})
CLAIMS = (ClaimSeen(2, 1, stored_bytes(CLAIMED)),)


def chunk(text: str) -> Stored:
    return [1, 1, text]


def segment(first: int, epoch: int, *values: Stored | str) -> Segment:
    return Segment(first, epoch, [chunk(value) if isinstance(value, str) else value for value in values])


def published(heard: Segment) -> bytes:
    records = b"".join(encode_record(record_of(value)) for value in heard.values)
    return f"{heard.first}-{heard.epoch} {len(heard.values)}\n".encode() + records


def info(state: RunStateName = "running", *, head: int = 4, epoch: int = 1, session: str | None = None) -> RunInfo:
    return RunInfo("r", state, "a", session, head=head, epoch=epoch, crashes=0, created=1, updated=1)


BEGINNING = [segment(1, 0, SUBMITTED), segment(2, 1, CLAIMED, "c", "d")]


def listening(last: Stored | str = "d", **options: Any) -> TailState:
    """A tail that has given records 1 to 4 and waits."""
    state = TailState("r", 0, **options)
    assert state.ask() == Read(0, PAGE)
    page = [BEGINNING[0], segment(2, 1, CLAIMED, "c", last)]
    assert state.on_page(page) == Give(page)
    return state


def looking(last: Stored | str = "d", **options: Any) -> TailState:
    """A tail that has given records 1 to 4, received nothing, and looks at the run."""
    state = listening(last, **options)
    assert state.ask() == Listen(1.0)
    assert state.on_silence(1) == Look()
    return state


def reading(**options: Any) -> TailState:
    """A tail that has given records 1 to 4 and reads the log again."""
    state = listening(**options)
    assert state.on_missed() == Read(3, PAGE + 1)
    return state


def failed(action: Action) -> PlayheadError:
    assert isinstance(action, Fail)
    return action.error


def gap(action: Action) -> tuple[int, int | None]:
    error = failed(action)
    assert type(error) is GapError
    return error.expected, error.found


# What is published


@pytest.mark.parametrize(
    ("heard", "given"),
    [
        pytest.param([segment(5, 1, "e")], [segment(5, 1, "e")], id="the next"),
        pytest.param([segment(5, 1, "e"), segment(6, 1, "f")], [segment(5, 1, "e"), segment(6, 1, "f")], id="two"),
        pytest.param([segment(3, 1, "c", "d", "e")], [segment(5, 1, "e")], id="overlapping"),
        pytest.param([segment(5, 1, "e"), segment(5, 1, "e")], [segment(5, 1, "e")], id="the next twice"),
        pytest.param([segment(5, 2, OTHER_CLAIMED)], [segment(5, 2, OTHER_CLAIMED)], id="another owner's claim"),
    ],
)
def test_what_is_new_in_what_was_received_is_given(heard: list[Segment], given: list[Segment]) -> None:
    state = listening()
    assert state.on_batches([published(one) for one in heard]) == Give(given)
    assert state.ask() == Listen(1.0)


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(segment(4, 1, "d"), id="twice"),
        pytest.param(segment(2, 1, CLAIMED, "c"), id="late"),
        pytest.param(segment(1, 0, SUBMITTED), id="very late"),
    ],
)
def test_what_is_received_again_is_passed_over(heard: Segment) -> None:
    assert listening().on_batches([published(heard)]) == Listen(1.0)


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(segment(6, 1, "f"), id="a hole"),
        pytest.param(segment(4, 1, "other"), id="another record in the place of the last"),
        pytest.param(segment(4, 1, "other", "e"), id="another last, and the next"),
        pytest.param(segment(4, 2, OTHER_CLAIMED), id="another owner's in the place of the last"),
        pytest.param(segment(3, 2, OTHER_CLAIMED), id="another owner's before the last"),
        pytest.param(segment(5, 2, "e"), id="another owner's whose claim was not seen"),
        pytest.param(segment(5, 0, OTHER_CLAIMED), id="a former owner's claim"),
    ],
)
def test_what_does_not_follow_sends_the_tail_to_the_log(heard: Segment) -> None:
    assert listening().on_batches([published(heard)]) == Read(3, PAGE + 1)


def test_records_before_a_hole_are_given_first() -> None:
    state = listening()
    assert state.on_batches([published(segment(5, 1, "e")), published(segment(7, 1, "g"))]) == Give(
        [segment(5, 1, "e")]
    )
    assert state.ask() == Read(4, PAGE + 1)


@pytest.mark.parametrize(
    "junk", [b"", b"hello", b"5-1\n", b"5-1 1\n\xc1", b"5-1 2\n\x01", b"x-y 1\n", b"5-1 0\n", b"5-1 -1\n\x01"]
)
def test_junk_on_the_channel_makes_the_tail_read_the_log_after_the_records_before_it(junk: bytes) -> None:
    state = listening()
    assert state.on_batches([published(segment(5, 1, "e")), junk]) == Give([segment(5, 1, "e")])
    assert state.ask() == Read(4, PAGE + 1)
    assert listening().on_batches([junk]) == Read(3, PAGE + 1)


@pytest.mark.parametrize("way", ["page", "batch"])
@pytest.mark.parametrize(("last", "then"), [(ENDED, End()), (PAUSED, Look()), ("e", Listen(1.0))])
def test_after_an_end_or_a_pause_a_tail_does_not_simply_listen(way: str, last: Stored | str, then: Action) -> None:
    new = segment(5, 1, last)
    if way == "page":
        state = reading()
        assert state.on_page([segment(4, 1, "d", last)]) == Give([new])
    else:
        state = listening()
        assert state.on_batches([published(new)]) == Give([new])
    assert state.ask() == then


# Pages of the log


def test_a_page_begins_with_what_was_seen_last() -> None:
    assert reading().on_page([segment(4, 1, "d")]) == Listen(1.0)
    assert reading().on_page([segment(4, 1, "d", "e")]) == Give([segment(5, 1, "e")])
    new = segment(5, 2, OTHER_CLAIMED)
    assert reading().on_page([segment(4, 1, "d"), new]) == Give([new])


def test_after_a_full_page_comes_another() -> None:
    state = reading()
    texts = [str(number) for number in range(PAGE)]
    assert state.on_page([segment(4, 1, "d", *texts)]) == Give([segment(5, 1, *texts)])
    assert state.ask() == Read(3 + PAGE, PAGE + 1)


def test_a_hole_in_the_log_is_a_gap_after_the_records_before_it() -> None:
    state = reading()
    assert state.on_page([segment(4, 1, "d", "e"), segment(7, 1, "g")]) == Give([segment(5, 1, "e")])
    assert gap(state.ask()) == (6, 7)
    assert gap(TailState("r", 0).on_page([segment(5, 1, "e")])) == (1, 5)
    assert gap(reading().on_page([segment(5, 1, "e")])) == (4, 5)


@pytest.mark.parametrize("there", [segment(4, 1, "other"), segment(4, 2, "d"), segment(4, 2, OTHER_CLAIMED)])
def test_another_record_in_the_place_of_the_last_is_a_rewind(there: Segment) -> None:
    assert reading().on_page([there]) == Rewound(4, 4, CLAIMS)


def test_an_owner_without_a_claim_is_a_rewind() -> None:
    error = failed(reading().on_page([segment(4, 1, "d"), segment(5, 2, "e")]))
    assert isinstance(error, RewindError)
    assert (error.expected, error.found) == (4, 5)


def test_a_record_that_is_not_equal_to_itself_is_the_same() -> None:
    odd = SUBMITTED.model_copy(update={"prompt": [float("nan")]})
    again = SUBMITTED.model_copy(update={"prompt": [float("nan")]})
    state = TailState("r", Entry(1, 0, odd))
    assert state.on_page(
        [
            segment(
                1,
                0,
                again,
            )
        ]
    ) == Listen(0.0)


def test_the_last_entry_itself_may_be_what_was_seen() -> None:
    entry = next(iter(segment(4, 1, "d").entries()))
    assert TailState("r", entry).on_page([segment(4, 1, "d", "e")]) == Give([segment(5, 1, "e")])
    assert TailState("r", entry).on_page([segment(4, 1, "other")]) == Rewound(4, 4, ())


def test_of_a_bare_number_nothing_is_compared() -> None:
    state = TailState("r", 4)
    assert state.ask() == Read(4, PAGE)
    assert state.on_page([segment(5, 7, "e")]) == Give([segment(5, 7, "e")])
    assert state.on_missed() == Read(4, PAGE + 1), "by then there is something to compare"


def test_a_cursor_is_settled_once_its_record_was_found() -> None:
    state = TailState("r", "4-1")
    assert not state.settled
    state.on_page([])
    assert not state.settled
    state.on_info(info(head=2))
    assert not state.settled, "it waits for the owner to send it again"
    state.on_missed()
    state.on_page([segment(4, 1, "d")])
    assert state.settled


# The log ends before what was seen


@pytest.mark.parametrize("found", [info("queued", head=2), info(head=3, epoch=2), info("completed", head=3)])
def test_what_no_owner_can_send_again_is_a_rewind(found: RunInfo) -> None:
    state = reading()
    assert state.on_page([]) == Look()
    assert state.on_info(found) == Rewound(4, None, CLAIMS)


def test_what_the_owner_may_send_again_is_waited_for() -> None:
    state = reading()
    state.on_page([])
    action = state.on_info(info(head=2))
    assert isinstance(action, Listen)
    assert (action.seconds, action.reap, action.notice and action.notice.kind) == (1.0, True, "rewound")
    for news in (state.on_missed, lambda: state.on_batches([b"whatever"]), lambda: state.on_silence(1)):
        assert news() == Read(3, PAGE + 1)
        assert state.on_page([]) == Look()
        assert state.on_info(info(head=2)) == Listen(1.0, None, reap=True), "it is told once"


def test_a_wait_for_the_owner_that_was_broken_off_is_gone_on_with() -> None:
    """A cancelled `next` must not end the tail as a terminal record would."""
    state = reading()
    state.on_page([])
    state.on_info(info(head=2))
    assert state.ask() == Listen(1.0, None, reap=True)


def test_a_log_that_grew_again_in_between_is_read_again_once() -> None:
    state = reading()
    state.on_page([])
    assert state.on_info(info(head=4)) == Read(3, PAGE + 1)
    assert state.on_page([]) == Look()
    assert gap(state.on_info(info(head=4))) == (4, None)


def test_many_tails_that_wait_for_an_owner_do_not_all_look_at_once() -> None:
    state = reading(channels=10_000)
    state.on_page([])
    action = state.on_info(info(head=2))
    assert isinstance(action, Listen)
    assert action.seconds == 50.0


# Looking at the run


@pytest.mark.parametrize("ask", [looking, lambda: _with(reading(), "on_page", []), lambda: listening(PAUSED)])
def test_a_run_that_is_not_there_is_not_found(ask: Callable[[], TailState]) -> None:
    assert isinstance(failed(ask().on_info(None)), RunNotFoundError)


def _with(state: TailState, method: str, value: Any) -> TailState:
    getattr(state, method)(value)
    return state


def test_an_empty_log_is_of_no_run() -> None:
    assert isinstance(failed(TailState("r", 0).on_page([])), RunNotFoundError)


def test_a_run_that_runs_is_looked_at_ever_more_rarely() -> None:
    state = listening()
    action: Action = state.ask()
    pauses: list[float] = []
    for _ in range(5):
        assert isinstance(action, Listen)
        pauses.append(action.seconds)
        assert state.on_silence(1) == Look()
        assert state.on_info(info()) == AskLease()
        action = state.on_lease(None)
    assert (pauses, action) == ([1, 2, 4, 5, 5], Listen(5, None, reap=True))
    state.on_batches([published(segment(5, 1, "e"))])
    assert state.ask() == Listen(1.0), "once it moves it is looked at soon again"


def test_a_reader_that_rejoins_and_finds_nothing_looks_at_once() -> None:
    state = TailState("r", 4)
    assert state.on_page([]) == Listen(0.0)


def test_what_was_not_received_is_waited_for_once_more_and_then_read() -> None:
    state = looking()
    assert state.on_info(info(head=5)) == Listen(1.0)
    assert state.on_silence(1) == Read(3, PAGE + 1)
    assert state.on_page([segment(4, 1, "d", "e")]) == Give([segment(5, 1, "e")])


def test_what_comes_late_is_given_all_the_same() -> None:
    state = looking()
    state.on_info(info(head=5))
    assert state.on_batches([published(segment(5, 1, "e"))]) == Give([segment(5, 1, "e")])


def test_records_that_the_log_lacks_are_a_gap() -> None:
    state = looking()
    state.on_info(info(head=5))
    state.on_silence(1)
    assert state.on_page([segment(4, 1, "d")]) == Look()
    assert gap(state.on_info(info(head=5))) == (5, None)


def test_records_that_redis_lost_before_they_were_seen_are_not_a_gap() -> None:
    state = looking()
    state.on_info(info(head=5))
    state.on_silence(1)
    state.on_page([segment(4, 1, "d")])
    assert state.on_info(info(head=4)) == Listen(2.0)


def test_a_run_with_fewer_records_than_were_seen_is_read_again_and_looked_up_again() -> None:
    state = looking()
    assert state.on_info(info(head=3)) == Read(3, PAGE + 1)
    assert state.on_page([segment(4, 1, "d")]) == Look()
    assert state.on_info(info(head=4)) == Listen(2.0), "its owner sent it again meanwhile"


def test_a_record_that_stays_above_the_head_was_not_written_by_playhead() -> None:
    state = looking()
    state.on_info(info(head=3))
    state.on_page([segment(4, 1, "d")])
    error = failed(state.on_info(info(head=3)))
    assert isinstance(error, ForeignRecordError)
    assert "its log has record 4, and the run has 3" in str(error)


def test_a_bare_number_that_the_run_has_not_reached_is_a_gap() -> None:
    state = TailState("r", 50)
    state.on_page([])
    state.on_silence(1)
    assert gap(state.on_info(info(head=4))) == (51, None)


@pytest.mark.parametrize("found", [info("completed"), info(epoch=2)])
def test_a_run_that_contradicts_the_last_record_is_read_again(found: RunInfo) -> None:
    state = looking()
    assert state.on_info(found) == Read(3, PAGE + 1)
    assert state.on_page([segment(4, 2, ENDED)]) == Rewound(4, 4, CLAIMS)


def test_an_end_that_the_log_lacks_is_a_gap() -> None:
    state = looking()
    state.on_info(info("completed"))
    assert gap(state.on_page([segment(4, 1, "d")])) == (5, None)


def test_a_run_of_another_epoch_whose_log_is_as_it_was_is_waited_for() -> None:
    state = looking()
    state.on_info(info(epoch=2))
    assert state.on_page([segment(4, 1, "d")]) == AskLease()
    assert state.on_lease(None) == Listen(2.0, None, reap=True)


def test_after_the_end_by_a_bare_number_there_is_nothing() -> None:
    state = TailState("r", 4)
    state.on_page([])
    state.on_silence(1)
    assert state.on_info(info("completed")) == End()


def test_after_the_end_by_a_cursor_there_is_nothing_to_look_at() -> None:
    assert TailState("r", "4-1").on_page([segment(4, 1, ENDED)]) == End()


# Pauses


def test_a_tail_ends_at_the_pause_at_which_the_run_is() -> None:
    state = listening(PAUSED, on_pause="end")
    assert state.ask() == Look()
    assert state.on_info(info("paused")) == End()


def test_a_tail_that_waits_at_a_pause_says_once_what_is_asked() -> None:
    state = listening(PAUSED)
    action = state.on_info(info("paused"))
    assert isinstance(action, Listen)
    assert action.notice is not None
    assert (action.notice.kind, [one.id for one in action.notice.interrupts]) == ("paused", ["q"])
    state.on_silence(1)
    assert state.on_info(info("paused")) == Listen(2.0, None, reap=True)


@pytest.mark.parametrize("on_pause", ["end", "wait"])
def test_a_pause_that_is_over_is_passed_over(on_pause: Any) -> None:
    state = listening(PAUSED, on_pause=on_pause)
    assert state.on_info(info("queued")) == Listen(1.0), "nothing is after it yet"
    state = listening(PAUSED, on_pause=on_pause)
    assert state.on_info(info(head=5, epoch=2)) == Read(3, PAGE + 1)
    new = segment(5, 2, OTHER_CLAIMED)
    assert state.on_page([segment(4, 1, PAUSED), new]) == Give([new])


def test_a_pause_that_redis_lost_is_not_an_end() -> None:
    """An earlier pause, at which the run is again."""
    state = listening(PAUSED, on_pause="end")
    assert state.on_info(info("paused", head=3)) == Listen(1.0)


def test_a_pause_in_the_middle_of_a_page_is_passed_over() -> None:
    state = TailState("r", 3, on_pause="end")
    page = [segment(4, 1, PAUSED), segment(5, 2, OTHER_CLAIMED)]
    assert state.on_page(page) == Give(page)
    assert state.ask() == Listen(1.0)


def test_a_pause_whose_record_was_not_seen_is_read() -> None:
    state = TailState("r", 4)
    state.on_page([])
    state.on_silence(1)
    assert state.on_info(info("paused")) == ReadPause(4)
    action = state.on_pause_record([segment(4, 1, PAUSED)])
    assert isinstance(action, Listen)
    assert action.notice is not None
    assert [one.id for one in action.notice.interrupts] == ["q"]


@pytest.mark.parametrize(("page", "found"), [([], None), ([segment(6, 1, "f")], 6)])
def test_a_pause_whose_record_is_gone_is_a_gap(page: list[Segment], found: int | None) -> None:
    state = TailState("r", 4)
    state.on_page([])
    state.on_silence(1)
    state.on_info(info("paused"))
    assert gap(state.on_pause_record(page)) == (4, found)


# The queue


def queued(session: str | None = None, **options: Any) -> TailState:
    """A tail of a queued run, about to ask for the workers."""
    state = looking(**options)
    assert state.on_info(info("queued", session=session)) == AskWorkers()
    return state


def notice_of(action: Action) -> str | None:
    assert isinstance(action, Listen)
    assert action.reap
    return None if action.notice is None else f"{action.notice.kind}: {action.notice.message}"


def test_a_run_that_no_worker_serves_says_so_once() -> None:
    state = queued()
    said = notice_of(state.on_workers([WorkerInfo("w", ["other"])]))
    assert said == (
        "no_worker: no live worker serves agent 'a' (served now: other); waiting. Start one: playhead worker TARGET"
    )
    state.on_silence(1)
    state.on_info(info("queued"))
    assert notice_of(state.on_workers([])) is None


def test_a_caller_that_does_not_wait_for_a_worker_is_told_when_the_time_is_over() -> None:
    state = queued(wait_for_worker=3.0)
    assert isinstance(state.on_workers([]), Listen), "it has waited for a second"
    state.on_silence(1)
    state.on_info(info("queued"))
    error = failed(state.on_workers([]))
    assert isinstance(error, NoWorkerError)
    assert "run r stays queued" in str(error)


@pytest.mark.parametrize(
    ("holder", "found", "said"),
    [
        (None, None, "all workers that serve its agent are busy, or have just ended."),
        ("r", None, "all workers that serve its agent are busy, or have just ended."),
        ("h", info(), "its session is with run h, which is running."),
        ("h", None, "its session is with run h, which has just ended."),
        ("h", info("paused"), "its session is with run h, which is paused and waits for a response: playhead show h."),
    ],
)
def test_a_queued_run_says_once_what_it_waits_for(holder: str | None, found: RunInfo | None, said: str) -> None:
    state = queued("s")
    assert state.on_workers([WorkerInfo("w", ["a"])]) == AskHolder("s")
    assert state.ask() == AskWorkers(), "what was broken off is asked again"
    assert state.on_workers([WorkerInfo("w", ["a"])]) == AskHolder("s")
    assert notice_of(state.on_holder(holder, found)) == f"queued: run r is queued: {said}"
    state.on_silence(1)
    state.on_info(info("queued", session="s"))
    assert notice_of(state.on_workers([WorkerInfo("w", ["a"])])) is None


def test_a_run_without_a_session_waits_for_other_runs() -> None:
    said = notice_of(queued().on_workers([WorkerInfo("w", ["a"])]))
    assert said == "queued: run r is queued: all workers that serve its agent are busy, or have just ended."


# Redis is away


def test_what_it_must_know_is_asked_again() -> None:
    state = reading()
    action = state.on_unreachable("away")
    assert isinstance(action, Rest)
    assert (action.notice and action.notice.kind, action.notice and action.notice.message) == ("unreachable", "away")
    assert state.ask() == Read(3, PAGE + 1)
    again = state.on_unreachable("away")
    assert again == Rest(action.seconds, None)
    state = listening(PAUSED)
    state.on_unreachable("away")
    assert state.ask() == Look()


def test_what_it_only_wants_to_know_is_asked_when_it_looks_again() -> None:
    for state in (looking(), queued(), _with(queued("s"), "on_workers", [WorkerInfo("w", ["a"])])):
        assert notice_of(state.on_unreachable("away")) == "unreachable: away"
        assert state.ask() == Listen(2.0)


def test_it_is_told_again_once_the_tail_has_moved() -> None:
    state = reading()
    state.on_unreachable("away")
    state.on_page([segment(4, 1, "d", "e")])
    state.on_missed()
    action = state.on_unreachable("away")
    assert isinstance(action, Rest)
    assert action.notice is not None
