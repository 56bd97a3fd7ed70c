"""The rules: walks through whole runs, each step decided from the live state and again from the stored log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Message, ToolResult, ToolUse
from playhead.runtime.core.decide import decide
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
    ToolStarted,
)
from playhead.runtime.core.state import initial
from playhead.runtime.core.steps import (
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
)

__all__: list[str] = []

ADD: ToolUse = {"toolUseId": "t1", "name": "add", "input": {"a": 1}}
MUL: ToolUse = {"toolUseId": "t2", "name": "mul", "input": {"a": 2}}
SUB: ToolUse = {"toolUseId": "t3", "name": "sub", "input": {"a": 3}}
CHUNK = ModelChunk(at=0, chunk={"contentBlockDelta": {"delta": {"text": "x"}}})
CANCEL = SignalReceived(at=0, signal_id="s1", kind="cancel")


def user(*texts: str) -> Message:
    return {"role": "user", "content": [{"text": text} for text in texts]}


def assistant(text: str, *calls: ToolUse) -> Message:
    usage = {"inputTokens": 2, "outputTokens": 1, "totalTokens": 3}
    blocks = [{"text": text}, *({"toolUse": call} for call in calls)]
    return {"role": "assistant", "content": blocks, "metadata": {"usage": usage, "metrics": {"latencyMs": 5}}}


def given(call: ToolUse, text: str, *, status: Any = "success") -> ToolResult:
    return {"toolUseId": call["toolUseId"], "status": status, "content": [{"text": text}]}


class Walk:
    """A run in the making: what was recorded, and what is to be done next."""

    def __init__(self, prompt: Any = "hi", *, history: Sequence[Message] = ()) -> None:
        self.history = tuple(history)
        self.entries: list[Entry] = []
        self.state = initial(self.history)
        self.add(RunSubmitted(at=0, agent="a", prompt=prompt), RunClaimed(at=0, worker="w"))

    def add(self, *records: Record) -> int:
        """Record these; returns the last one's number."""
        for record in records:
            self.entries.append(Entry(len(self.entries) + 1, 1, record))
            self.state = evolve(self.state, self.entries[-1])
        return len(self.entries)

    @property
    def step(self) -> Step | None:
        """What is decided; a new owner must decide the same from the stored log."""
        step = decide(self.state)
        stored = [Entry(seq, epoch, decode_record(encode_record(record))) for seq, epoch, record in self.entries]
        taken_over = Entry(len(stored) + 1, 2, RunClaimed(at=0, worker="other"))
        handed_over = [*stored, taken_over._replace(record=RunHandedOver(at=0, worker="w")), taken_over]
        if step is not None:
            for log in (stored, [*stored, taken_over], handed_over):
                assert decide(fold(log, history=self.history)) == step
        return step

    def opened(self) -> Walk:
        """On to the first cycle."""
        while isinstance(step := self.step, AddMessage):
            origin: Any = step.origin
            self.add(MessageAdded(at=0, message=step.message, origin=origin))
        assert self.step == StartCycle(1)
        self.add(CycleStarted(at=0, cycle=1))
        return self

    def answered(self, message: Message, stop_reason: str = "end_turn") -> Walk:
        """Through a model call."""
        self.add(ModelStarted(at=0), CHUNK)
        self.add(MessageAdded(at=0, origin="model", message=message, stop_reason=stop_reason))
        return self

    def asked(self, *calls: ToolUse) -> Walk:
        """On to the point where these calls are open."""
        return self.opened().answered(assistant("let me", *calls), "tool_use")

    def started(self, *indexes: int) -> Walk:
        for index in indexes:
            self.add(ToolStarted(at=0, index=index, tool_use=ADD, effect_key="k"))
        return self

    def finished(self, index: int, call: ToolUse, text: str, *, status: Any = "success") -> Walk:
        self.add(ToolFinished(at=0, index=index, name=call["name"], result=given(call, text, status=status)))
        return self


def results(*results: ToolResult) -> AddMessage:
    return AddMessage({"role": "user", "content": [{"toolResult": result} for result in results]}, "tools")


# ---------------------------------------------------------------- whole runs


def test_a_text_run() -> None:
    walk = Walk("hi", history=[user("before"), assistant("yes")])
    assert walk.step == AddMessage(user("hi"), "prompt")
    walk.add(MessageAdded(at=0, message=user("hi"), origin="prompt"))
    assert walk.step == StartCycle(1)
    walk.add(CycleStarted(at=0, cycle=1))
    assert walk.step == CallModel(attempt=1)
    walk.answered(assistant("hello"))
    metrics = {
        "cycles": 1,
        "usage": {"inputTokens": 2, "outputTokens": 1, "totalTokens": 3},
        "latency_ms": 5,
        "tools": {},
        "per_cycle": [{"usage": {"inputTokens": 2, "outputTokens": 1, "totalTokens": 3}, "ms": 0}],
        "per_tool": {},
    }
    finish = {"stop_reason": "end_turn", "message": assistant("hello"), "metrics": metrics, "state": {}}
    assert walk.step == Finish(finish)
    walk.add(RunCompleted(at=0, result=finish))
    assert walk.step is None
    assert walk.state.added == (user("hi"), assistant("hello"))


def test_a_tool_run() -> None:
    walk = Walk().asked(ADD)
    assert walk.step == RunTools(((0, ADD),), started=frozenset())
    walk.started(0).finished(0, ADD, "3")
    added = results(given(ADD, "3"))
    assert walk.step == added
    walk.add(MessageAdded(at=0, message=added.message, origin="tools"))
    assert walk.step == StartCycle(2)
    walk.add(CycleStarted(at=0, cycle=2))
    assert walk.step == CallModel(attempt=1)
    walk.answered(assistant("it is 3"))
    step = walk.step
    assert isinstance(step, Finish)
    assert not step.cancelled
    assert step.result["message"] == assistant("it is 3")
    assert step.result["metrics"] == {
        "cycles": 2,
        "usage": {"inputTokens": 4, "outputTokens": 2, "totalTokens": 6},
        "latency_ms": 10,
        "tools": {"add": {"calls": 1, "ok": 1, "errors": 0}},
        "per_cycle": [{"usage": {"inputTokens": 2, "outputTokens": 1, "totalTokens": 3}, "ms": 0}] * 2,
        "per_tool": {"add": {"ms": 0, "last": ADD["toolUseId"]}},
    }


@pytest.mark.parametrize(
    "stop_reason", ["end_turn", "stop_sequence", "content_filtered", "guardrail_intervened", "new"]
)
def test_a_run_ends_with_the_models_stop_reason(stop_reason: str) -> None:
    step = Walk().opened().answered(assistant("hello"), stop_reason).step
    assert isinstance(step, Finish)
    assert (step.result["stop_reason"], step.cancelled) == (stop_reason, False)


@pytest.mark.parametrize(
    "end",
    [
        RunCompleted(at=0, result={}),
        RunFailed(at=0, error_type="E", message="m"),
        RunCancelled(at=0, result={}),
    ],
)
def test_an_ended_run_has_nothing_left_to_do(end: Record) -> None:
    for walk in (Walk(), Walk().opened(), Walk().asked(ADD), Walk().asked(ADD).finished(0, ADD, "3")):
        walk.add(end)
        assert walk.step is None


# ---------------------------------------------------------------- tools


def test_of_parallel_calls_only_the_open_ones_are_run() -> None:
    walk = Walk().asked(ADD, MUL, SUB).started(0, 1, 2).finished(1, MUL, "6")
    assert walk.step == RunTools(((0, ADD), (2, SUB)), started=frozenset({0, 1, 2}))


def test_calls_never_begun_are_told_from_those_of_unknown_outcome() -> None:
    walk = Walk().asked(ADD, MUL).started(0)
    assert walk.step == RunTools(((0, ADD), (1, MUL)), started=frozenset({0}))


def test_results_are_in_the_order_of_the_calls() -> None:
    walk = Walk().asked(ADD, MUL, SUB)
    walk.finished(2, SUB, "c").finished(0, ADD, "a").finished(1, MUL, "b", status="error")
    assert walk.step == results(given(ADD, "a"), given(MUL, "b", status="error"), given(SUB, "c"))


def test_calls_that_share_an_id_each_have_their_own_result() -> None:
    walk = Walk().asked(ADD, ADD).finished(1, ADD, "second")
    assert walk.step == RunTools(((0, ADD),), started=frozenset())
    walk.finished(0, ADD, "first")
    assert walk.step == results(given(ADD, "first"), given(ADD, "second"))


def test_a_batch_of_an_earlier_cycle_is_done_with() -> None:
    walk = Walk().asked(ADD).started(0).finished(0, ADD, "3")
    walk.add(MessageAdded(at=0, message=user("results"), origin="tools"), CycleStarted(at=0, cycle=2))
    walk.answered(assistant("and", MUL), "tool_use")
    assert walk.step == RunTools(((0, MUL),), started=frozenset())


# ---------------------------------------------------------------- dead model calls


def test_a_dead_model_call_is_withdrawn_and_made_again() -> None:
    walk = Walk().opened()
    opened = walk.add(ModelStarted(at=0))
    walk.add(CHUNK, CHUNK, RunClaimed(at=0, worker="w2"))
    assert walk.step == CallModel(attempt=2, supersedes=(opened, opened + 2))
    walk.add(RunHandedOver(at=0, worker="w2"), RunClaimed(at=0, worker="w3"))
    assert walk.step == CallModel(attempt=2, supersedes=(opened, opened + 2)), (
        "records of later owners are not a message"
    )
    walk.add(ModelRetried(at=0, supersedes=(opened, opened + 2)))
    assert walk.step == CallModel(attempt=2)
    again = walk.add(ModelStarted(at=0, attempt=2))
    walk.add(RunHandedOver(at=0, worker="w3"), RunClaimed(at=0, worker="w4"))
    assert walk.step == CallModel(attempt=3, supersedes=(again, again))
    walk.add(CHUNK, MessageAdded(at=0, origin="model", message=assistant("hello"), stop_reason="end_turn"))
    assert isinstance(walk.step, Finish)


def test_attempts_are_counted_for_each_cycle() -> None:
    walk = Walk().asked(ADD).finished(0, ADD, "3")
    walk.add(MessageAdded(at=0, message=user("results"), origin="tools"), CycleStarted(at=0, cycle=2))
    assert walk.step == CallModel(attempt=1)


# ---------------------------------------------------------------- cancel


def cancelled_with(step: Step | None, message: Message) -> bool:
    assert isinstance(step, Finish)
    return (step.cancelled, step.result["stop_reason"], step.result["message"]) == (True, "cancelled", message)


def said_cancelled(walk: Walk) -> bool:
    """The model's message is replaced, and the run ends."""
    assert walk.step == SayCancelled("Cancelled by user")
    walk.add(MessageAdded(at=0, origin="model", message=assistant("Cancelled by user"), stop_reason="cancelled"))
    return cancelled_with(walk.step, assistant("Cancelled by user"))


def test_cancel_before_the_first_cycle() -> None:
    walk = Walk()
    walk.add(CANCEL)
    assert walk.step == AddMessage(user("hi"), "prompt")  # what was asked stays in the conversation
    assert said_cancelled(walk.opened())


def test_cancel_before_the_model_call() -> None:
    walk = Walk().opened()
    walk.add(CANCEL)
    assert said_cancelled(walk)


def test_cancel_during_the_model_call() -> None:
    walk = Walk().opened()
    walk.add(ModelStarted(at=0), CHUNK, CANCEL)
    assert said_cancelled(walk)


def test_cancel_before_the_tools() -> None:
    walk = Walk().asked(ADD, MUL)
    walk.add(CANCEL)
    assert walk.step == CancelTools(((0, ADD), (1, MUL)))
    walk.finished(0, ADD, "c", status="error").finished(1, MUL, "c", status="error")
    walk.add(MessageAdded(at=0, message=user("results"), origin="tools"))
    assert cancelled_with(walk.step, assistant("let me", ADD, MUL))


def test_cancel_during_the_tools_keeps_what_is_done() -> None:
    walk = Walk().asked(ADD, MUL).started(0, 1).finished(0, ADD, "3")
    walk.add(CANCEL)
    assert walk.step == CancelTools(((1, MUL),), text="Tool execution cancelled")
    walk.finished(1, MUL, "c", status="error")
    assert walk.step == results(given(ADD, "3"), given(MUL, "c", status="error"))


def test_cancel_between_cycles() -> None:
    walk = Walk().asked(ADD).finished(0, ADD, "3")
    walk.add(MessageAdded(at=0, message=user("results"), origin="tools"), CANCEL)
    assert cancelled_with(walk.step, assistant("let me", ADD))


def test_cancel_after_the_last_message_changes_nothing() -> None:
    walk = Walk().opened().answered(assistant("hello"))
    before = walk.step
    walk.add(CANCEL)
    assert isinstance(before, Finish)
    assert walk.step == before


# ---------------------------------------------------------------- histories that end in a tool call


def interrupted(*calls: ToolUse) -> AddMessage:
    content = [{"toolResult": given(call, "Tool was interrupted.", status="error")} for call in calls]
    return AddMessage({"role": "user", "content": content}, "repair")


@pytest.mark.parametrize("prompt", ["go on", [{"text": "go on"}], [user("go on")], []])
def test_a_prompt_after_unanswered_calls_answers_them_first(prompt: Any) -> None:
    walk = Walk(prompt, history=[user("before"), assistant("let me", ADD, MUL)])
    assert walk.step == interrupted(ADD, MUL)
    walk.add(MessageAdded(at=0, message=interrupted(ADD, MUL).message, origin="repair"))
    assert walk.step == (AddMessage(user("go on"), "prompt") if prompt else StartCycle(1))
    assert walk.opened().step == CallModel(attempt=1)


def test_unanswered_calls_are_run_if_there_is_no_prompt() -> None:
    walk = Walk(None, history=[user("before"), assistant("let me", ADD, MUL)])
    assert walk.step == StartCycle(1)
    assert walk.opened().step == RunTools(((0, ADD), (1, MUL)), started=frozenset())
    walk.started(0, 1).finished(1, MUL, "6")
    assert walk.step == RunTools(((0, ADD),), started=frozenset({0, 1}))
    walk.finished(0, ADD, "3")
    assert walk.step == results(given(ADD, "3"), given(MUL, "6"))
    walk.add(MessageAdded(at=0, message=results(given(ADD, "3")).message, origin="tools"))
    assert walk.step == StartCycle(2)
    walk.add(CycleStarted(at=0, cycle=2))
    assert walk.step == CallModel(attempt=1)


def test_cancel_before_unanswered_calls_are_run() -> None:
    walk = Walk(None, history=[assistant("let me", ADD)]).opened()
    walk.add(CANCEL)
    assert walk.step == CancelTools(((0, ADD),))


def test_calls_answered_before_the_run_are_left_alone() -> None:
    tool_results = results(given(ADD, "3")).message
    walk = Walk("go on", history=[assistant("let me", ADD), tool_results])
    assert walk.step == AddMessage(user("go on"), "prompt")
    assert Walk(None, history=[assistant("let me", ADD), tool_results]).opened().step == CallModel(attempt=1)


# ---------------------------------------------------------------- limits and prompts


@pytest.mark.parametrize("calls", [(), (ADD, MUL)])
def test_a_message_cut_at_the_token_limit_fails_the_run_and_runs_no_tool(calls: tuple[ToolUse, ...]) -> None:
    step = Walk().opened().answered(assistant("so", *calls), "max_tokens").step
    assert isinstance(step, Fail)
    assert step.error_type == "MaxTokensReachedException"
    assert "maximum token limit" in step.message


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("hi", [user("hi")]),
        ("", [user("")]),
        (None, []),
        ([], []),
        (
            [{"text": "a"}, {"image": {"format": "png", "source": {"bytes": b"1"}}}],
            [{"role": "user", "content": [{"text": "a"}, {"image": {"format": "png", "source": {"bytes": b"1"}}}]}],
        ),
        ([user("a"), assistant("b"), user("c")], [user("a"), assistant("b"), user("c")]),
    ],
)
def test_prompts_become_messages(prompt: Any, messages: list[Message]) -> None:
    walk = Walk(prompt).opened()
    assert list(walk.state.added) == messages
    assert walk.step == CallModel(attempt=1)


@pytest.mark.parametrize(
    "prompt",
    [
        5,
        1.5,
        True,
        {"text": "hi"},
        b"hi",
        ["hi"],
        [{"text": "hi"}, "hi"],
        [{"words": "hi"}],
        [user("a"), {"words": 1}],
        [{}],
        [{"role": "user"}],
        [{"content": []}],
    ],
)
def test_a_prompt_of_another_kind_fails_the_run(prompt: Any) -> None:
    walk = Walk(prompt)
    assert isinstance(walk.step, Fail)
    assert walk.step.error_type == "ValueError"
    assert walk.step.message.startswith(
        "a prompt must be text, a list of content blocks, a list of messages, or None, not "
    )
    assert walk.state.added == ()
