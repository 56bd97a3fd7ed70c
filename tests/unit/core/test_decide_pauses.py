"""The rules of pauses, responses and steers, each step decided from the live state and again from the stored log."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.interrupts import outcome_question_id, tool_interrupt_id
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelStarted,
    Record,
    RunClaimed,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.state import RunState, effect_key
from playhead.runtime.core.steps import AddMessage, CancelTools, Fail, Finish, Pause, Resume, RunTools, StartCycle

__all__: list[str] = []

ADD: ToolUse = {"toolUseId": "t1", "name": "add", "input": {}}
MUL: ToolUse = {"toolUseId": "t2", "name": "mul", "input": {}}
SUB: ToolUse = {"toolUseId": "t3", "name": "sub", "input": {}}
CANCEL = SignalReceived(at=0, signal_id="c", kind="cancel")
FIRST, SECOND = tool_interrupt_id("t1", "sure"), tool_interrupt_id("t2", "sure")


def user(text: str) -> Message:
    return {"role": "user", "content": [{"text": text}]}


def assistant(text: str, *calls: ToolUse) -> Message:
    return {"role": "assistant", "content": [{"text": text}, *({"toolUse": call} for call in calls)]}


def asks(index: int, call: ToolUse, *ids: str) -> ToolInterrupted:
    interrupts = [{"id": key, "name": "sure", "reason": None, "response": None} for key in ids]
    return ToolInterrupted(at=0, index=index, tool_use=call, interrupts=interrupts)


def started(index: int, call: ToolUse) -> ToolStarted:
    return ToolStarted(at=0, index=index, tool_use=call, effect_key=f"r/{call['toolUseId']}")


def finished(index: int, call: ToolUse) -> ToolFinished:
    result: Any = {"toolUseId": call["toolUseId"], "status": "success", "content": [{"text": "ok"}]}
    return ToolFinished(at=0, index=index, name=call["name"], result=result)


def respond(**responses: Any) -> SignalReceived:
    ids = {"first": FIRST, "second": SECOND}
    body = {ids.get(name, name): response for name, response in responses.items()}
    return SignalReceived(at=0, signal_id=f"respond {sorted(responses)}", kind="respond", body=body)


def steer(body: Any) -> SignalReceived:
    return SignalReceived(at=0, signal_id=f"steer {body}", kind="steer", body=body)


class Walk:
    """A run in the making that called `calls`."""

    def __init__(self, *calls: ToolUse) -> None:
        self.records: list[Record] = [
            RunSubmitted(at=0, agent="a", prompt="hi"),
            RunClaimed(at=0, worker="w"),
            MessageAdded(at=0, message=user("hi"), origin="prompt"),
            CycleStarted(at=0, cycle=1),
            ModelStarted(at=0),
        ]
        if calls:
            self.say(assistant("let me", *calls), "tool_use")

    def say(self, message: Message, stop_reason: str) -> Walk:
        self.records.append(MessageAdded(at=0, message=message, origin="model", stop_reason=stop_reason))
        return self

    def then(self, *records: Record) -> Walk:
        self.records += records
        return self

    @property
    def state(self) -> RunState:
        """Of the log as it is stored."""
        stored = [decode_record(encode_record(record)) for record in self.records]
        return fold([Entry(seq, 1, record) for seq, record in enumerate(stored, 1)])

    def step(self, *, in_turn: bool = False) -> Any:
        """What is decided; a new owner that takes the run over at once decides the same."""
        step = decide(self.state, in_turn=in_turn)
        later = Walk().then()
        later.records = [*self.records, RunClaimed(at=0, worker="other")]
        if step is not None:
            assert decide(later.state, in_turn=in_turn) == step
        return step

    def paused(self) -> Walk:
        """Through the pause that is decided, and claimed by the next owner."""
        step = self.step()
        assert isinstance(step, Pause)
        return self.then(RunPaused(at=0, interrupts=step.interrupts, result=step.result), RunClaimed(at=0, worker="w2"))


# Interrupts


def test_a_run_pauses_when_all_that_is_left_asks() -> None:
    walk = Walk(ADD, MUL, SUB).then(started(0, ADD), started(1, MUL), started(2, SUB), asks(0, ADD, FIRST))
    assert walk.step() == RunTools(((1, MUL), (2, SUB)), started=frozenset({1, 2}))
    walk.then(finished(2, SUB), asks(1, MUL, SECOND))
    step = walk.step()
    assert isinstance(step, Pause)
    assert [interrupt["id"] for interrupt in step.interrupts] == [FIRST, SECOND]
    assert step.result["stop_reason"] == "interrupt"
    assert step.result["interrupts"] == step.interrupts
    assert step.result["message"] == assistant("let me", ADD, MUL, SUB)


def test_questions_are_in_the_order_of_the_calls_whichever_asked_first() -> None:
    walk = Walk(ADD, MUL).then(started(0, ADD), started(1, MUL), asks(1, MUL, SECOND), asks(0, ADD, FIRST))
    assert [interrupt["id"] for interrupt in walk.step().interrupts] == [FIRST, SECOND]


def test_a_paused_run_has_nothing_to_do_until_it_has_an_owner_again() -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST))
    paused = walk.step()
    walk.then(RunPaused(at=0, interrupts=paused.interrupts, result=paused.result))
    assert walk.state.status == "paused"
    assert decide(walk.state) is None
    walk.then(RunClaimed(at=0, worker="w2"))
    assert walk.step() == paused, "claimed without a response, it pauses again"


def test_once_everything_is_answered_the_run_resumes_and_only_then_runs_what_asked() -> None:
    walk = Walk(ADD, MUL, SUB).then(started(0, ADD), started(1, MUL), started(2, SUB))
    walk.then(asks(0, ADD, FIRST), finished(2, SUB), asks(1, MUL, SECOND)).paused()
    walk.then(respond(second="no"))
    again = walk.step()
    assert isinstance(again, Pause)
    assert [interrupt["id"] for interrupt in again.interrupts] == [FIRST]
    walk.paused().then(respond(first="yes"))
    assert walk.step() == Resume()
    walk.then(RunResumed(at=0))
    assert walk.step() == RunTools(((0, ADD), (1, MUL)), started=frozenset({2})), "neither has an unknown outcome"
    assert walk.state.responses == {FIRST: "yes", SECOND: "no"}


@pytest.mark.parametrize("body", [{FIRST: None}, {"v1:other": 1}, {}, None, "yes"])
def test_what_answers_nothing_leaves_the_question_open(body: Any) -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused()
    walk.then(SignalReceived(at=0, signal_id="s", kind="respond", body=body))
    assert isinstance(walk.step(), Pause)


def test_the_first_response_counts() -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused()
    walk.then(respond(first="yes"), respond(first="no"))
    assert walk.state.responses == {FIRST: "yes"}


def test_a_second_question_of_a_call_keeps_the_response_to_the_first() -> None:
    other = tool_interrupt_id("t1", "really")
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused().then(respond(first="yes"), RunResumed(at=0))
    walk.then(started(0, ADD), asks(0, ADD, other)).paused()
    walk.then(SignalReceived(at=0, signal_id="s", kind="respond", body={other: "indeed"}), RunResumed(at=0))
    assert walk.state.responses == {FIRST: "yes", other: "indeed"}


def test_a_worker_that_dies_while_an_answered_call_runs_leaves_an_unknown_outcome() -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused().then(respond(first="yes"), RunResumed(at=0))
    walk.then(started(0, ADD), RunClaimed(at=0, worker="w3"))
    assert walk.step() == RunTools(((0, ADD),), started=frozenset({0}))
    assert walk.state.responses == {FIRST: "yes"}, "and the answer still holds"


def test_sequential_calls_wait_for_the_first_that_asks() -> None:
    walk = Walk(ADD, MUL, SUB).then(started(0, ADD), finished(0, ADD), started(1, MUL), asks(1, MUL, SECOND))
    assert isinstance(walk.step(in_turn=True), Pause)
    assert walk.step() == RunTools(((2, SUB),), started=frozenset({0}))
    walk.then(CANCEL)
    assert walk.step(in_turn=True) == CancelTools(((1, MUL), (2, SUB)))


def test_a_cancel_answers_what_waits() -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused().then(CANCEL)
    assert walk.step() == CancelTools(((0, ADD),))
    walk.then(finished(0, ADD), MessageAdded(at=0, message=user("results"), origin="tools"))
    step = walk.step()
    assert isinstance(step, Finish)
    assert step.cancelled
    assert "interrupts" not in step.result


def test_the_batchs_end_forgets_questions_and_responses_but_no_key() -> None:
    walk = Walk(ADD).then(started(0, ADD), asks(0, ADD, FIRST)).paused().then(respond(first="yes"), RunResumed(at=0))
    walk.then(started(0, ADD), finished(0, ADD), MessageAdded(at=0, message=user("results"), origin="tools"))
    state = walk.state
    assert (state.responses, state.interrupts, state.interrupted, state.paused) == ({}, {}, {}, False)
    assert state.spent == {"r/t1"}


# Unknown outcomes


def test_what_became_of_a_call_is_asked_anew_for_each_time_it_was_begun() -> None:
    question = outcome_question_id("t1")
    walk = Walk(ADD).then(started(0, ADD), RunClaimed(at=0, worker="w2"), asks(0, ADD, question)).paused()
    walk.then(SignalReceived(at=0, signal_id="s", kind="respond", body={question: "retry"}), RunResumed(at=0))
    assert walk.step() == RunTools(((0, ADD),), started=frozenset({0}))
    assert walk.state.responses == {question: "retry"}
    walk.then(started(0, ADD), RunClaimed(at=0, worker="w4"))
    assert walk.step() == RunTools(((0, ADD),), started=frozenset({0}))
    assert walk.state.responses == {}


# Effect keys


def test_every_call_of_a_run_has_a_key_of_its_own_that_stays() -> None:
    walk = Walk(ADD, ADD)
    assert effect_key(walk.state, 0, ADD, run_id="r") == "r/t1"
    walk.then(started(0, ADD))
    assert effect_key(walk.state, 1, ADD, run_id="r") == "r/t1~2"
    assert effect_key(walk.state, 0, ADD, run_id="a/fork") == "a/fork/t1", "a fork has keys of its own"
    walk.then(started(1, ADD).model_copy(update={"effect_key": "r/t1~2"}))
    assert [effect_key(walk.state, index, ADD, run_id="r") for index in (0, 1)] == ["r/t1", "r/t1~2"]
    walk.then(finished(0, ADD), finished(1, ADD), MessageAdded(at=0, message=user("results"), origin="tools"))
    walk.then(CycleStarted(at=0, cycle=2)).say(assistant("again", ADD), "tool_use")
    assert effect_key(walk.state, 0, ADD, run_id="r") == "r/t1~3"
    odd: ToolUse = {"toolUseId": "t1~2", "name": "add", "input": {}}
    assert effect_key(walk.state, 0, odd, run_id="r") == "r/t1~2~2", "nor does an id that looks like one"


# Steering


def test_a_steer_is_taken_in_before_the_next_cycle() -> None:
    walk = Walk(ADD).then(steer("and be quick"), steer([{"text": "please"}]), started(0, ADD), finished(0, ADD))
    assert isinstance(walk.step(), AddMessage), "the results come first"
    walk.then(MessageAdded(at=0, message=user("results"), origin="tools"))
    assert walk.step() == AddMessage(user("and be quick"), "steer")
    walk.then(MessageAdded(at=0, message=user("and be quick"), origin="steer"))
    assert walk.step() == AddMessage(user("please"), "steer")
    walk.then(MessageAdded(at=0, message=user("please"), origin="steer"))
    assert walk.step() == StartCycle(2)
    assert walk.state.steers == ()


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence"])
def test_a_steer_that_comes_with_the_last_message_gives_the_run_another_cycle(stop_reason: str) -> None:
    walk = Walk().say(assistant("done"), stop_reason).then(steer("and now?"))
    assert walk.step() == AddMessage(user("and now?"), "steer")
    walk.then(MessageAdded(at=0, message=user("and now?"), origin="steer"))
    assert walk.step() == StartCycle(2)


def test_a_steer_of_a_run_not_yet_begun_comes_after_its_prompt() -> None:
    walk = Walk()
    walk.records[2:] = [steer("and be quick")]
    assert walk.step() == AddMessage(user("hi"), "prompt")
    walk.then(MessageAdded(at=0, message=user("hi"), origin="prompt"))
    assert walk.step() == AddMessage(user("and be quick"), "steer")
    walk.then(MessageAdded(at=0, message=user("and be quick"), origin="steer"))
    assert walk.step() == StartCycle(1)


def test_a_steer_neither_stops_a_cancel_nor_saves_a_run_at_its_token_limit() -> None:
    step = Walk().say(assistant("done"), "end_turn").then(steer("more"), CANCEL).step()
    assert isinstance(step, Finish)
    assert isinstance(Walk().say(assistant("do"), "max_tokens").then(steer("more")).step(), Fail)


@pytest.mark.parametrize("body", [None, 7, [7], {}, []])
def test_a_steer_that_says_nothing_changes_nothing(body: Any) -> None:
    assert isinstance(Walk().say(assistant("done"), "end_turn").then(steer(body)).step(), Finish)


@pytest.mark.parametrize("history", [True, False])
def test_what_was_finished_before_the_pause_is_told_first(history: bool):
    records: list[Record] = [
        RunSubmitted(at=0, agent="a", prompt="go"),
        RunClaimed(at=0, worker="w"),
        MessageAdded(at=0, message=user("go"), origin="prompt"),
        CycleStarted(at=0, cycle=1),
        ModelStarted(at=0),
        MessageAdded(at=0, message=assistant("on it", ADD, MUL, SUB), origin="model", stop_reason="tool_use"),
        *(started(index, call) for index, call in enumerate((ADD, MUL, SUB))),
        finished(2, SUB),
        asks(0, ADD, FIRST),
        finished(1, MUL),
        RunPaused(at=0, interrupts=[], result={}),
        SignalReceived(at=0, signal_id="s", kind="respond", body={FIRST: "yes"}),
        RunResumed(at=0),
        started(0, ADD),
        finished(0, ADD),
    ]
    if not history:  # as for a worker that looks at a run before it reads its session
        fold([Entry(seq, 1, record) for seq, record in enumerate(records[6:], 7)])
        return
    step = decide(fold([Entry(seq, 1, record) for seq, record in enumerate(records, 1)]))
    assert isinstance(step, AddMessage)
    told = [block["toolResult"]["toolUseId"] for block in step.message.get("content", []) if "toolResult" in block]
    assert told == ["t2", "t3", "t1"]
