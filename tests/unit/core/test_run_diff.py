"""Two runs are compared: a fork by the records that it has in common with its parent, others by cycle and call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.run_acts import RunAct, acts
from playhead.runtime.core.run_diff import Differ, run_diff
from playhead.runtime.models import chunks as c

__all__: list[str] = []


def entries(*records: Record, epoch: int = 1) -> list[Entry]:
    return [Entry(seq, epoch if seq > 1 else 0, record) for seq, record in enumerate(records, start=1)]


def a_run(
    *, at: int = 0, city: str = "Bern", result: str = "rain", says: str = "It rains.", ids: str = "t", took: int = 5
) -> list[Entry]:
    """A run of two cycles with two calls, the second of which ends first."""
    uses: list[Any] = [
        {"toolUse": {"toolUseId": f"{ids}{index}", "name": name, "input": {"city": city}}}
        for index, name in enumerate(["weather", "time"])
    ]
    asked: Any = {"role": "assistant", "content": uses, "metadata": {"usage": {"inputTokens": 7, "outputTokens": 3}}}
    said: Any = {"role": "assistant", "content": [{"text": says}], "metadata": {"usage": {"outputTokens": 2}}}
    results: list[Any] = [
        {"toolUseId": f"{ids}{index}", "status": "success", "content": [{"text": text}]}
        for index, text in enumerate([result, "noon"])
    ]
    back: Any = {"role": "user", "content": [{"toolResult": one} for one in results]}
    return entries(
        RunSubmitted(at=at, agent="guide", prompt="Weather?"),
        RunClaimed(at=at + 1, worker="w", definition="d1"),
        MessageAdded(at=at + 1, message={"role": "user", "content": [{"text": "Weather?"}]}, origin="prompt"),
        CycleStarted(at=at + 2, cycle=1),
        ModelStarted(at=at + 3),
        MessageAdded(at=at + 9, message=asked, origin="model", stop_reason="tool_use"),
        *(ToolStarted(at=at + 10, index=i, tool_use=use["toolUse"], effect_key=f"k{i}") for i, use in enumerate(uses)),
        ToolFinished(at=at + 11, index=1, name="time", result=results[1]),
        ToolFinished(at=at + 10 + took, index=0, name="weather", result=results[0]),
        MessageAdded(at=at + 20, message=back, origin="tools"),
        CycleStarted(at=at + 20, cycle=2),
        ModelStarted(at=at + 21),
        MessageAdded(at=at + 25, message=said, origin="model", stop_reason="end_turn"),
        RunCompleted(at=at + 26, result={"stop_reason": "end_turn"}),
    )


def shown(found: Sequence[RunAct]) -> list[tuple[str, str, int]]:
    return [(act.kind, act.name, act.cycle) for act in found]


def test_a_run_is_told_act_by_act_with_times_and_tokens() -> None:
    told = acts(a_run(at=1000))
    assert shown(told) == [
        ("submitted", "", 0),
        ("message", "prompt", 0),
        ("model", "", 1),
        ("tool", "time", 1),
        ("tool", "weather", 1),
        ("model", "", 2),
        ("end", "completed", 2),
    ]
    model, time, weather = told[2], told[3], told[4]
    assert (model.first, model.last, model.at_ms, model.took_ms, model.calls) == (5, 6, 3, 6, 1)
    assert model.usage == {"inputTokens": 7, "outputTokens": 3}
    assert (time.first, time.last, time.took_ms) == (8, 9, 1)
    assert (weather.first, weather.last, weather.took_ms) == (7, 10, 5)
    assert weather.content == {"input": {"city": "Bern"}, "status": "success", "content": [{"text": "rain"}]}


def test_runs_that_did_the_same_are_the_same_whatever_their_times_and_ids() -> None:
    found = run_diff(a_run(), a_run(at=900, ids="call-", took=8))
    assert (found.same, found.parted, found.common) == (True, None, 0)
    assert [pair.same for pair in found.pairs] == [True] * 7
    assert (found.left.took_ms, found.left.records, found.left.state) == (26, 15, "completed")
    assert (found.left.cycles, found.left.model_calls, found.left.tool_calls) == (2, 2, 2)
    assert found.left.usage == {"inputTokens": 7, "outputTokens": 5}
    assert found.left.usage_by == {"d1": {"inputTokens": 7, "outputTokens": 5}}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"result": "snow"}, [("tool", "weather")]),
        ({"says": "It snows."}, [("model", "")]),
        ({"city": "Basel"}, [("model", ""), ("tool", "weather"), ("tool", "time")]),
    ],
)
def test_runs_of_one_agent_are_laid_side_by_side_by_cycle_and_call(
    change: dict[str, Any], kinds: list[tuple[str, str]]
) -> None:
    found = run_diff(a_run(), a_run(at=50, **change))
    differ = [pair for pair in found.pairs if not pair.same]
    assert [(pair.either.kind, pair.either.name) for pair in differ] == kinds
    assert all(pair.left and pair.right and pair.left.place == pair.right.place for pair in differ)
    assert found.parted is not None
    assert found.pairs[found.parted] is differ[0]


def test_a_fork_has_its_parents_first_records_and_parts_where_it_was_forked() -> None:
    parent, other = a_run(), a_run(result="snow")
    first = parent[0].record
    assert isinstance(first, RunSubmitted)
    told = first.model_copy(update={"session": "forked-x", "options": {"fork": {"run": "p", "at": 9}}})
    fork = [Entry(1, 0, told), *parent[1:9], *other[9:]]
    found = run_diff(parent, fork)
    assert found.common == 9
    assert found.parted is not None
    parting = found.pairs[found.parted]
    assert parting.left is not None
    assert (parting.either.name, parting.left.last) == ("weather", 10)
    records: list[Any] = [entry.record for entry in fork]
    later = [record.model_copy(update={"at": record.at + 60_000}) for record in records]
    late = [*fork[:9], *(entry._replace(record=record) for entry, record in zip(fork[9:], later[9:], strict=True))]
    found = run_diff(parent, late)
    assert found.right.took_ms < 60_000  # the minute before the fork was made is not its time
    assert max(pair.right.took_ms for pair in found.pairs if pair.right) < 60_000  # nor that of the call open there
    assert run_diff(parent, parent).common == len(parent)
    assert run_diff(parent, [parent[0], parent[1]._replace(epoch=2)]).common == 1
    assert run_diff(parent, [Entry(1, 0, RunSubmitted(at=0, agent="guide", prompt="Time?"))]).common == 0


@pytest.mark.parametrize("ahead", [1, 4, 20])
def test_runs_are_compared_the_same_page_by_page(ahead: int) -> None:
    left = a_run()
    right = [*left[:9], *a_run(result="snow")[9:]]
    differ = Differ()
    for start in range(0, 20, ahead):
        differ.add(left[start : start + ahead], [])
        differ.add([], right[start : start + ahead])
    assert differ.value() == run_diff(left, right)
    assert differ.value().common == 9


def test_what_only_one_of_them_did_stands_alone_and_the_ends_face_each_other() -> None:
    parent = a_run()
    failed = [*parent[:11], Entry(12, 1, RunFailed(at=30, error_type="Broken", message="no"))]
    found = run_diff(parent, failed)
    assert [(pair.left is None, pair.right is None) for pair in found.pairs[-2:]] == [(False, True), (False, False)]
    assert not found.pairs[-2].same
    end = found.pairs[-1]
    assert end.right is not None
    assert (end.right.name, end.right.content) == ("failed", {"error_type": "Broken", "message": "no"})
    assert found.right.state == "failed"


def test_a_call_that_was_made_again_is_one_answer_and_what_has_not_ended_says_so() -> None:
    def chunk(text: str) -> ModelChunk:
        return ModelChunk(at=4, chunk=c.text_delta(text))

    start = a_run()[:4]
    again = [
        *(ModelStarted(at=3), chunk("lost"), ModelRetried(at=5, supersedes=(5, 6))),
        *(ModelFailed(at=5, error_type="Busy", message="busy"), ModelStarted(at=6), chunk("It "), chunk("rains")),
    ]
    told = acts([*start, *(Entry(seq, 1, record) for seq, record in enumerate(again, start=5))])
    assert told[-1].content == {"text": "It rains", "unfinished": True}
    assert (told[-1].calls, told[-1].first, told[-1].last) == (2, 5, 11)
    tool = acts(a_run()[:9])[-1]
    assert (tool.name, tool.content) == ("weather", {"input": {"city": "Bern"}, "unfinished": True})
    assert run_diff([], []).left.state == "unfinished"


def test_questions_answers_and_steers_are_compared_without_their_ids() -> None:
    def asked(key: str, answer: str) -> list[Entry]:
        use: Any = {"toolUseId": "t0", "name": "weather", "input": {"city": "Bern"}}
        more = [
            ToolInterrupted(at=11, index=0, tool_use=use, interrupts=[{"id": key, "name": "ok?", "reason": "why"}]),
            SignalReceived(at=12, signal_id=key, kind="respond", body={key: answer}),
            SignalReceived(at=13, signal_id=f"{key}2", kind="steer", body="Be brief"),
        ]
        return [*a_run()[:8], *(Entry(seq, 1, record) for seq, record in enumerate(more, start=9))]

    assert run_diff(asked("a", "yes"), asked("b", "yes")).same
    found = run_diff(asked("a", "yes"), asked("b", "no"))
    (differs,) = [pair for pair in found.pairs if not pair.same]
    assert (differs.either.kind, differs.either.name, differs.either.content) == (
        "signal",
        "respond",
        {"body": ["yes"]},
    )
    assert not replace(differs, right=None).same
