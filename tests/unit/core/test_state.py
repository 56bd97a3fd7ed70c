"""The fold: what each record does to the state of a run, and what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from playhead.runtime.core.converse import Message, ToolResult, ToolUse
from playhead.runtime.core.evolve import evolve, fold
from playhead.runtime.core.records import (
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
    RunHandedOver,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    UnknownRecord,
)
from playhead.runtime.core.state import RunState, initial, tool_uses

__all__: list[str] = []


def use(name: str, *, id_: str = "t1") -> ToolUse:
    return {"toolUseId": id_, "name": name, "input": {}}


def result(text: str, *, status: Any = "success", id_: str = "t1") -> ToolResult:
    return {"toolUseId": id_, "status": status, "content": [{"text": text}]}


def user(text: str) -> Message:
    return {"role": "user", "content": [{"text": text}]}


def model_message(*blocks: dict[str, Any], tokens: int = 0, latency: int = 0, **more: int) -> Message:
    usage = {"inputTokens": tokens, "outputTokens": 1, "totalTokens": tokens + 1, **more}
    metadata = {"usage": usage, "metrics": {"latencyMs": latency}}
    return {"role": "assistant", "content": list(blocks), "metadata": metadata}


def after(*records: Record, history: tuple[Message, ...] = ()) -> RunState:
    return fold((Entry(seq, 1, record) for seq, record in enumerate(records, 1)), history=history)


SUBMITTED = RunSubmitted(at=0, agent="a", prompt="hi", session="ada", invocation_state={"user": "u1"})
CLAIMED = RunClaimed(at=1, worker="w")
STARTED = ModelStarted(at=1)
CHUNK = ModelChunk(at=1, chunk={"contentBlockDelta": {"delta": {"text": "x"}}})
SAID = MessageAdded(
    at=1, origin="model", stop_reason="end_turn", message=model_message({"text": "x"}, tokens=5, latency=20)
)
CALLS = model_message(
    {"text": "let me"}, {"toolUse": use("add", id_="t1")}, {"toolUse": use("mul", id_="t2")}, tokens=3
)
ASKED = MessageAdded(at=1, origin="model", stop_reason="tool_use", message=CALLS)


def test_a_run_starts_queued_from_its_history() -> None:
    history = (user("before"), model_message({"text": "yes"}))
    state = initial(history)
    assert (state.status, state.phase, state.messages, state.history, state.added) == (
        "queued",
        "opening",
        history,
        2,
        (),
    )


def test_submission_says_which_agent_is_asked_what() -> None:
    state = after(SUBMITTED)
    assert (state.agent, state.prompt, state.session, state.status) == ("a", "hi", "ada", "queued")
    assert state.invocation_state == {"user": "u1"}


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (CLAIMED, "running"),
        (RunHandedOver(at=1, worker="w"), "queued"),
        (RunCompleted(at=1, result={}), "completed"),
        (RunFailed(at=1, error_type="E", message="m"), "failed"),
        (RunCancelled(at=1, result={}), "cancelled"),
    ],
)
def test_status_follows_the_last_record_that_says_so(record: Record, status: str) -> None:
    assert after(SUBMITTED, CLAIMED, record, CHUNK).status == status


def test_opening_messages_are_counted_and_added() -> None:
    repair = MessageAdded(at=1, origin="repair", message=user("r"))
    prompt = MessageAdded(at=1, origin="prompt", message=user("p"))
    state = after(SUBMITTED, repair, prompt, history=(user("before"),))
    assert (state.opened, state.history, state.phase) == (2, 1, "opening")
    assert state.added == (user("r"), user("p"))


def test_a_cycle_begins_with_no_call() -> None:
    state = after(SUBMITTED, CycleStarted(at=1, cycle=1), STARTED, SAID, CycleStarted(at=2, cycle=2))
    assert (state.cycle, state.phase, state.attempts, state.call_open, state.stop_reason) == (2, "cycle", 0, None, None)


def test_an_open_call_is_known_by_its_record() -> None:
    opened = after(SUBMITTED, CLAIMED, CycleStarted(at=1, cycle=1), STARTED, CHUNK)
    assert (opened.call_open, opened.attempts) == (4, 1)
    withdrawn = evolve(opened, Entry(6, 2, ModelRetried(at=1, supersedes=(4, 5))))
    assert (withdrawn.call_open, withdrawn.attempts) == (None, 1)
    again = evolve(withdrawn, Entry(7, 2, STARTED))
    assert (again.call_open, again.attempts) == (7, 2)
    answered = evolve(again, Entry(8, 2, SAID))
    assert (answered.call_open, answered.phase, answered.stop_reason) == (None, "answered", "end_turn")
    assert answered.added == (SAID.message,)


def test_usage_and_latency_add_up_over_calls() -> None:
    more = model_message({"text": "y"}, tokens=7, latency=5, cacheReadInputTokens=4)
    second = MessageAdded(at=1, origin="model", stop_reason="end_turn", message=more)
    totals = after(SUBMITTED, SAID, second).totals
    assert totals.usage == {"inputTokens": 12, "outputTokens": 2, "totalTokens": 14, "cacheReadInputTokens": 4}
    assert totals.latency_ms == 25


@pytest.mark.parametrize("metadata", [None, {}, {"usage": None, "metrics": None}, {"usage": {"inputTokens": "many"}}])
def test_a_message_without_numbers_counts_as_nothing(metadata: Any) -> None:
    message: Any = {"role": "assistant", "content": [], "metadata": metadata}
    state = after(SUBMITTED, MessageAdded(at=1, origin="model", stop_reason="end_turn", message=message))
    assert (state.totals.usage, state.totals.latency_ms) == ({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}, 0)


def test_a_message_cut_at_the_limit_keeps_no_tool_calls_in_the_history() -> None:
    blocks: list[Any] = [{"text": "let me"}, {"toolUse": use("add")}, {"toolUse": {"toolUseId": "t"}}]
    cut = MessageAdded(at=1, origin="model", stop_reason="max_tokens", message=model_message(*blocks, tokens=3))
    state = after(SUBMITTED, cut)
    said = "The selected tool {}'s tool use was incomplete due to maximum token limits being reached."
    assert [block["text"] for block in state.messages[-1].get("content", [])] == [
        "let me",
        said.format("add"),
        said.format("<unknown>"),
    ]
    assert tool_uses(cut.message) == [use("add"), {"toolUseId": "t"}]
    assert state.totals.usage["inputTokens"] == 3


def test_tool_calls_are_told_apart_by_their_place() -> None:
    same = [use("add", id_="same"), use("add", id_="same")]
    state = after(
        SUBMITTED,
        ASKED,
        *(ToolStarted(at=1, index=index, tool_use=call, effect_key="k") for index, call in enumerate(same)),
        ToolProgressed(at=1, index=0, tool_use=same[0], data="half"),
        ToolFinished(at=1, index=1, name="add", result=result("second", id_="same")),
    )
    assert (state.started, state.results) == ({0, 1}, {1: result("second", id_="same")})


def test_tool_outcomes_are_counted_by_name() -> None:
    ends = [("add", "success"), ("mul", "error"), ("add", "error"), ("add", "success")]
    state = after(
        SUBMITTED,
        *(ToolFinished(at=1, index=i, name=name, result=result("", status=s)) for i, (name, s) in enumerate(ends)),
    )
    assert state.totals.tools == {
        "add": {"calls": 3, "ok": 2, "errors": 1},
        "mul": {"calls": 1, "ok": 0, "errors": 1},
    }


def test_the_results_message_ends_the_batch() -> None:
    started = ToolStarted(at=1, index=0, tool_use=use("add"), effect_key="k")
    finished = ToolFinished(at=1, index=0, name="add", result=result("3"))
    added = MessageAdded(at=1, origin="tools", message=user("results"))
    state = after(SUBMITTED, ASKED, started, finished, added)
    assert (state.phase, state.started, state.results, state.messages[-1]) == (
        "between",
        frozenset(),
        {},
        user("results"),
    )
    assert state.totals.tools["add"]["calls"] == 1


def test_only_a_cancel_cancels() -> None:
    steer = SignalReceived(at=1, signal_id="s", kind="steer")
    cancel = SignalReceived(at=1, signal_id="c", kind="cancel")
    assert not after(SUBMITTED, steer).cancelled
    assert after(SUBMITTED, cancel, steer, CLAIMED).cancelled


def test_chunks_and_unknown_records_change_nothing() -> None:
    state = after(SUBMITTED, CLAIMED, CycleStarted(at=1, cycle=1), STARTED)
    unknown = UnknownRecord.model_validate({"type": "run.teleported", "at": 1, "cycle": 9, "status": "failed"})
    for record in (CHUNK, unknown, ToolProgressed(at=1, index=0, tool_use=use("add"))):
        assert evolve(state, Entry(5, 1, record)) is state


def test_a_step_changes_neither_the_state_before_nor_the_record() -> None:
    records = [
        SUBMITTED,
        CLAIMED,
        MessageAdded(at=1, origin="prompt", message=user("p")),
        CycleStarted(at=1, cycle=1),
        STARTED,
        CHUNK,
        ASKED,
        ToolStarted(at=1, index=0, tool_use=use("add"), effect_key="k"),
        ToolFinished(at=1, index=0, name="add", result=result("3")),
        ToolFinished(at=1, index=1, name="add", result=result("4")),
        MessageAdded(at=1, origin="tools", message=user("results")),
        CycleStarted(at=1, cycle=2),
        STARTED,
        SAID,
        RunCompleted(at=1, result={"stop_reason": "end_turn"}),
    ]
    before = copy.deepcopy(records)
    state, states = initial(), list[tuple[RunState, RunState]]()
    for seq, record in enumerate(records, 1):
        states.append((state, copy.deepcopy(state)))
        state = evolve(state, Entry(seq, 1, record))
    assert all(kept == copied for kept, copied in states)
    assert records == before
    assert state == after(*records)
