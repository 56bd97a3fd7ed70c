"""The timeline of a run: each call, tool and wait as a bar, with its records, its time and how it ended."""

from __future__ import annotations

import pytest

from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunFailed,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.timeline import Bar, Drawing, Timeline, timeline
from playhead.runtime.models import chunks as c
from tests.support.eventful import START, Eventful, eventful

__all__: list[str] = []

ENTRIES = eventful()
DRAWN = timeline(ENTRIES)


def bars(drawn: Timeline, *kinds: str) -> list[Bar]:
    return [bar for bar in drawn.bars if bar.kind in kinds]


def test_every_call_tool_and_wait_is_a_bar_in_the_order_in_which_they_began():
    assert [(bar.kind, bar.name, bar.outcome) for bar in DRAWN.bars] == [
        ("queue", "worker-1", "ok"),
        ("model", "cycle 1", "error"),
        ("retry", "ConnectionError", "ok"),
        ("model", "cycle 1, try 2", "withdrawn"),
        ("takeover", "worker-2", "ok"),
        ("model", "cycle 1, try 3", "ok"),
        ("tool", "weather", "ok"),
        ("tool", "traffic", "error"),
        ("tool", "book", "interrupted"),
        ("human", "approve", "ok"),
        ("tool", "book", "ok"),
        ("handover", "worker-3", "ok"),
        ("model", "cycle 2", "ok"),
    ]


def test_the_call_of_a_guest_ends_with_its_step_and_has_the_number_of_its_key():
    usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    records = [
        *(RunSubmitted(at=0, agent="guest"), RunClaimed(at=0, worker="w")),
        *(ModelStarted(at=1, lane="/model:1"), StepFinished(at=2, key="/step:a"), StepFinished(at=5, key="/model:1")),
        *(ModelStarted(at=6, lane="/model:2"), StepFinished(at=8, key="/model:2", error={"type": "ValueError"})),
        MessageAdded(at=9, message={"role": "assistant", "content": [], "metadata": {"usage": usage}}, origin="model"),
    ]
    drawn = timeline([Entry(number, 1, record) for number, record in enumerate(records, 1)])
    calls = [(bar.name, bar.outcome, bar.took_ms, bar.output_tokens) for bar in bars(drawn, "model")]
    assert calls == [("call 1", "ok", 4, 0), ("call 2", "error", 2, 4)]


def test_a_wait_takes_the_time_until_the_run_goes_on():
    took = {bar.kind: bar.took_ms for bar in bars(DRAWN, "queue", "retry", "human", "takeover", "handover")}
    assert took == {"queue": 500, "retry": 400, "takeover": 2000, "human": 60_000, "handover": 300}


def test_a_takeover_begins_with_the_last_record_of_the_former_owner():
    (takeover,) = bars(DRAWN, "takeover")
    broken_off = bars(DRAWN, "model")[1]
    assert takeover.first == broken_off.last
    assert takeover.began == broken_off.ended
    assert isinstance(ENTRIES[takeover.last - 1].record, RunClaimed)


def test_tools_side_by_side_have_lanes_of_their_own():
    assert [bar.lane for bar in bars(DRAWN, "tool")] == [0, 1, 2, 0]
    assert DRAWN.lanes == 3


def test_a_cycle_has_its_records_times_and_tokens():
    first, second = DRAWN.cycles
    assert (first.first, first.last, second.last) == (4, second.first - 1, len(ENTRIES))
    assert (first.tools, first.input_tokens, first.output_tokens) == (4, 100, 20)
    assert first.wait_ms == 400 + 2000 + 60_000 + 300
    assert first.model_ms == sum(bar.took_ms for bar in bars(DRAWN, "model")[:3])
    assert (second.model_ms, second.tool_ms, second.wait_ms) == (100, 0, 0)
    assert first.ended == second.began


def test_signals_owners_and_the_end_are_marked():
    assert [(mark.kind, mark.name) for mark in DRAWN.marks] == [
        ("run.claimed", "worker-2"),
        ("run.claimed", "worker-2"),
        ("signal.received", "respond"),
        ("signal.received", "steer"),
        ("run.handed_over", "worker-2"),
        ("run.claimed", "worker-3"),
        ("run.completed", ""),
    ]


def test_the_timeline_of_a_part_is_the_beginning_of_the_whole():
    for count in range(1, len(ENTRIES) + 1):
        part = timeline(ENTRIES[:count])
        assert (part.records, part.ended) == (count, max(entry.record.at for entry in ENTRIES[:count]))
        for bar, whole in zip(part.bars, DRAWN.bars, strict=False):
            assert (bar.kind, bar.first, bar.began) == (whole.kind, whole.first, whole.began)
            if bar.outcome == "open":
                assert (bar.last, bar.ended) == (count, part.ended)
            elif bar.outcome == whole.outcome:
                assert bar == whole


def test_what_is_open_in_a_run_that_goes_on_lasts_until_now():
    now = START + 3_600_000
    drawing = Drawing()
    for entry in ENTRIES[: bars(DRAWN, "tool")[0].first]:
        drawing.add(entry)
    drawn = drawing.value(now=now)
    assert [(bar.kind, bar.ended) for bar in drawn.bars if bar.outcome == "open"] == [("tool", now)]
    assert (drawn.ended, drawn.cycles[-1].ended) == (now, now)


def test_time_never_goes_back_when_the_clock_of_an_owner_is_late():
    late = [
        entry._replace(record=RunClaimed(at=START, worker="w")) if entry.record.type == "run.claimed" else entry
        for entry in ENTRIES
    ]
    drawn = timeline(late)
    assert all(bar.took_ms >= 0 for bar in drawn.bars)
    assert [bar.began for bar in drawn.bars] == sorted(bar.began for bar in drawn.bars)


@pytest.mark.parametrize("end", [RunFailed(at=0, error_type="ValueError", message="no"), RunCancelled(at=0, result={})])
def test_what_is_open_when_the_run_ends_ends_with_it(end: RunFailed | RunCancelled):
    run = Eventful()
    run.opening("Hi")
    run.add(ToolStarted(at=0, index=0, tool_use=run.call(0, "weather"), effect_key="k"), ModelStarted(at=0), end)
    drawn = timeline(run.entries)
    assert [(bar.kind, bar.outcome, bar.last) for bar in drawn.bars[1:]] == [
        ("tool", "interrupted", 7),
        ("model", "withdrawn", 7),
    ]
    assert drawn.marks[-1].name == ("ValueError" if isinstance(end, RunFailed) else "")


def test_a_call_that_failed_half_way_is_an_error_also_if_it_is_made_again_or_ends_the_run():
    run = Eventful()
    run.opening("Hi")
    run.add(ModelStarted(at=0), ModelRetried(at=0, supersedes=(5, 5)))
    run.add(ModelFailed(at=0, error_type="ConnectionError", message="reset", delay=1.0))
    run.add(ModelStarted(at=0), RunFailed(at=0, error_type="ValueError", message="no", force_stop=True))
    outcomes = [bar.outcome for bar in bars(timeline(run.entries), "model")]
    assert outcomes == ["error", "error"]


def test_a_call_that_was_cancelled_before_it_began_has_no_bar():
    run = Eventful()
    run.opening("Hi")
    finished = ToolFinished(at=0, index=0, name="x", result={"toolUseId": "t", "status": "error", "content": []})
    run.add(finished)
    assert [bar.kind for bar in timeline(run.entries).bars] == ["queue"]


def test_a_run_without_records_or_with_one_has_a_timeline():
    assert timeline([]) == Timeline()
    one = timeline([Entry(1, 0, RunSubmitted(at=START, agent="a"))])
    assert [(bar.kind, bar.outcome, bar.took_ms) for bar in one.bars] == [("queue", "open", 0)]
    assert timeline([Entry(1, 0, CycleStarted(at=5, cycle=1))]).cycles[0].number == 1


def forked(*told: Record, at: int = 8) -> list[Entry]:
    """The records of a fork that is made and claimed a minute after record `at` of its parent."""
    run = Eventful()
    run.opening("Hi")
    run.add(ModelStarted(at=0))
    run.chunks([c.message_start(), *(c.text_delta(word) for word in ("It", " rains"))])
    first, *parent = run.entries[:at]
    submitted = first.record
    assert isinstance(submitted, RunSubmitted)
    place = {"fork": {"run": "p", "at": at}}
    run.entries = [first._replace(record=submitted.model_copy(update={"options": place})), *parent]
    run.at, run.epoch = run.entries[-1].record.at, run.entries[-1].epoch
    run.add(*told, after_ms=59_000)
    run.add(RunClaimed(at=0, worker="worker-9", definition="d1"), after_ms=60_000)
    run.add(CycleStarted(at=0, cycle=1, session_messages=2))
    run.answer("Snow.")
    return run.entries


def test_the_time_between_the_records_of_a_parent_and_its_fork_is_neither_a_takeover_nor_a_cost():
    drawn = timeline(forked())
    assert [(bar.kind, bar.name, bar.outcome) for bar in drawn.bars] == [
        ("queue", "worker-1", "ok"),
        ("model", "cycle 1", "withdrawn"),
        ("fork", "worker-9", "ok"),
        ("model", "cycle 1", "ok"),
    ]
    (fork,) = bars(drawn, "fork")
    assert (fork.first, fork.last, fork.took_ms) == (8, 9, 60_000)
    parents = drawn.cycles[0]
    assert (parents.wait_ms, parents.apart_ms, parents.took_ms) == (0, 60_000, parents.ended - parents.began - 60_000)


def test_a_fork_before_its_parent_was_claimed_has_not_waited_for_a_worker_since_then():
    assert [(bar.kind, bar.took_ms) for bar in timeline(forked(at=1)).bars[:2]] == [("queue", 0), ("fork", 60_000)]


def test_what_a_fork_is_told_takes_no_time_of_its_parent():
    drawn = timeline(forked(SignalReceived(at=0, signal_id="s", kind="steer", body="Be short.")))
    (fork,) = bars(drawn, "fork")
    assert (fork.first, fork.last, fork.took_ms) == (9, 10, 119_000)
    assert bars(drawn, "model")[0].took_ms == 30


def test_a_later_owner_of_a_fork_takes_it_over():
    taken = [*forked(), Entry(99, 3, RunClaimed(at=START + 900_000, worker="worker-10"))]
    assert [bar.kind for bar in timeline(taken).bars[-2:]] == ["model", "takeover"]
