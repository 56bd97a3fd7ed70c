"""Children in the pure core: their ids, and what the parent's log has of them, cut anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.children import Child, child_of, child_question, child_result, own_answers, parts, told
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.ids import derived_run_id, made_at, new_run_id
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    ToolDecided,
    ToolStarted,
)
from playhead.runtime.core.segments import Segment, compact, segments
from playhead.runtime.log.redis.shards import shard_of_run
from playhead.runtime.models import text_call

__all__: list[str] = []

USE: Any = {"toolUseId": "t1", "name": "inner", "input": {"input": "go"}}
ASKED: Any = {"role": "assistant", "content": [{"toolUse": USE}]}
SAID: Any = {"role": "assistant", "content": [{"text": "It is blue."}]}
CHILD: tuple[Record, ...] = (
    RunSubmitted(at=0, agent="outer.inner", prompt="go"),
    RunClaimed(at=0, worker="w"),
    MessageAdded(at=0, message={"role": "user", "content": [{"text": "go"}]}, origin="prompt"),
    CycleStarted(at=0, cycle=1),
    ModelStarted(at=0),
    *(ModelChunk(at=0, chunk=chunk) for chunk in text_call("It is blue.")),
    MessageAdded(at=0, message=SAID, origin="model", stop_reason="end_turn"),
    RunCompleted(at=0, result={"stop_reason": "end_turn", "message": SAID, "metrics": {}, "state": {}}),
)
PARENT: tuple[Record, ...] = (
    RunSubmitted(at=0, agent="outer"),
    RunClaimed(at=0, worker="w"),
    CycleStarted(at=0, cycle=1),
    MessageAdded(at=0, message=ASKED, origin="model", stop_reason="tool_use"),
    ToolStarted(at=0, index=0, tool_use=USE, effect_key="0-p/t1"),
    ChildStarted(at=0, index=0, tool_use=USE, run="0-c", agent="outer.inner"),
)


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq, 1, record) for seq, record in enumerate(records, 1)]


def rest_of_child(after: int) -> list[Segment]:
    values = [compact(one.at, one.chunk) if isinstance(one, ModelChunk) else one for one in CHILD]
    places = [(seq, 1) for seq in range(1, len(values) + 1)]
    return segments(places[after:], values[after:])


def forwarded(after: int, *, size: int) -> list[Record]:
    """What a parent stores of the child's log after this record, so many of its records at a time."""
    found: list[Record] = []
    for first in range(after, len(CHILD), size):
        (segment, *_) = rest_of_child(first)
        upto, values = told(Segment(segment.first, 1, segment.values[:size]))
        if values:
            found.append(ChildRecorded(at=0, index=0, upto=upto, values=values))
    return [decode_record(encode_record(one)) for one in found]


def nested(*records: Record) -> list[Any]:
    projection = Projection("0-p")
    events = [event for entry in entries(*records) for event in projection.feed(entry)]
    return [event["tool_stream_event"]["data"] for event in events if "tool_stream_event" in event]


def own() -> list[Any]:
    projection = Projection("0-c")
    return [dict(event) for entry in entries(*CHILD) for event in projection.feed(entry) if "result" not in event]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_parents_log_that_is_cut_anywhere_and_gone_on_with_has_each_event_of_the_child_once(size: int):
    whole = [*PARENT, *forwarded(0, size=size)]
    for cut in range(len(PARENT), len(whole) + 1):
        state = fold(entries(*whole[:cut]))
        again = forwarded(state.children[0].upto, size=2)
        claimed = RunClaimed(at=0, worker="v")
        started = ToolStarted(at=0, index=0, tool_use=USE, effect_key="0-p/t1")
        assert nested(*whole[:cut], claimed, started, *again) == own()


def test_the_prompt_and_the_result_of_a_child_are_not_in_its_parents_log():
    types = [
        one["type"] for record in forwarded(0, size=100) for one in dict(record)["values"] if isinstance(one, dict)
    ]
    assert types == ["cycle.started", "model.started", "message.added"]


def test_a_child_at_a_limit_has_its_last_start_in_the_parents_stream():
    limited = RunCompleted(at=0, result={"stop_reason": "limit_turns", "message": SAID, "metrics": {}, "state": {}})
    upto, values = told(Segment(1, 1, [limited]))
    assert nested(*PARENT, ChildRecorded(at=0, index=0, upto=upto, values=values)) == [{"start": True}]


def test_a_child_that_answers_for_its_parent_takes_back_records_of_the_parent():
    values: list[Any] = [CycleStarted(at=0, cycle=1), ModelStarted(at=0)]
    values += [compact(0, chunk) for chunk in text_call("It is blue.")[:4]]
    values += [
        ModelRetried(at=0, supersedes=(5, 8)),
        ModelStarted(at=0),
        *[compact(0, one) for one in text_call("No.")],
    ]
    recorded = [
        ChildRecorded(at=0, index=0, upto=upto, values=told_values)
        for upto, told_values in map(told, parts(Segment(4, 1, values)))
    ]
    started = ChildStarted(at=0, index=0, tool_use=USE, run="0-c", agent="outer.inner", delegate=True)
    log = entries(*PARENT[:-1], started, *recorded)
    projection = Projection("0-p")
    events = [event for entry in log for event in projection.feed(entry)]
    (retraction,) = [event for event in events if "retracted" in event]
    taken_back = range(retraction["from_seq"], retraction["to_seq"] + 1)
    said = [(event.seq in taken_back, event["data"]) for event in events if "data" in event]
    assert "".join(text for taken, text in said if taken) == retraction["text"] == "It is"
    assert [text for taken, text in said if not taken] == ["No."]
    assert {event.seq in taken_back for event in events if "start_event_loop" in event} == {False}


def test_the_id_of_a_child_depends_on_its_key_alone_and_is_on_its_parents_shard():
    parent = new_run_id(shard=3)
    run = child_of(f"{parent}/t1", None, parent=parent).run
    assert (
        run
        == child_of(f"{parent}/t1", Child(run, upto=7), parent=parent).run
        == derived_run_id(f"{parent}/t1", beside=parent)
    )
    assert run != child_of(f"{parent}/t2", None, parent=parent).run
    assert shard_of_run(run) == 3
    assert made_at(run) is None


def test_a_fork_has_a_child_of_its_own():
    theirs = child_of("0-p/t1", None, parent="0-p")
    ours = child_of("0-f/t1", theirs, parent="0-f")
    assert ours == Child(derived_run_id("0-f/t1", beside="0-f"))


def test_a_call_whose_result_a_hook_dropped_has_another_child():
    retry = ToolDecided(at=0, index=0, tool_use=USE, verdict="retry")
    known = fold(
        entries(*PARENT[:-1], ChildStarted(at=0, index=0, tool_use=USE, run="0-c", agent="a"), retry)
    ).children[0]
    assert known == Child("0-c", spent=True)
    again = child_of("0-p/t1", known, parent="0-p")
    assert (again.attempt, again.run != "0-c") == (2, True)


def test_the_children_of_a_batch_are_forgotten_with_it():
    results: Any = {"role": "user", "content": []}
    assert not fold(entries(*PARENT, MessageAdded(at=0, message=results, origin="tools"))).children


def test_a_question_and_its_response_find_each_other_through_two_parents():
    asked = child_question("t1", child_question("u/2", {"id": "v1:tool_call:p1:x", "name": "approve"}))
    assert asked["id"] == "v1:agent_as_tool:t1:v1:agent_as_tool:u%2F2:v1:tool_call:p1:x"
    assert own_answers("u/2", own_answers("t1", {asked["id"]: "yes", "other": 1})) == {"v1:tool_call:p1:x": "yes"}


@pytest.mark.parametrize(
    ("last", "status", "content"),
    [
        (CHILD[-1], "success", [{"text": "It is blue.\n"}]),
        (RunCompleted(at=0, result={"message": SAID, "structured_output": {"a": 1}}), "success", [{"json": {"a": 1}}]),
        (RunFailed(at=0, error_type="ValueError", message="kaput"), "error", [{"text": "Agent error: kaput"}]),
        (RunCancelled(at=0, result={}), "error", [{"text": "Agent 'inner' cancelled"}]),
        (RunClaimed(at=0, worker="w"), "error", [{"text": "Agent did not produce a result"}]),
    ],
)
def test_the_result_of_a_call_is_in_the_words_of_strands(last: Record, status: str, content: Any):
    assert child_result("inner", "t1", last) == {"toolUseId": "t1", "status": status, "content": content}
