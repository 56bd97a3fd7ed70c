"""The next step after what a hook decided: from the records alone."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.fork import Fork, next_records
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    HookDecided,
    MessageAdded,
    Record,
    RunClaimed,
    RunSubmitted,
    SignalReceived,
    ToolDecided,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import AddMessage, CancelTools, Finish, Pause, RunTools, StartCycle, Step

__all__: list[str] = []

USE: ToolUse = {"toolUseId": "t0", "name": "weather", "input": {}}
ASKED: dict[str, Any] = {"id": "i1", "name": "all?", "reason": None, "response": None}
SAID: Message = {"role": "assistant", "content": [{"text": "enough"}]}
RESULT: dict[str, Any] = {"toolUseId": "t0", "status": "success", "content": []}


def prompted(text: str) -> MessageAdded:
    return MessageAdded(at=0, message={"role": "user", "content": [{"text": text}]}, origin="prompt")


BEGUN: list[Record] = [RunSubmitted(at=0, agent="a", prompt="go"), RunClaimed(at=0, worker="w")]
CALLED: list[Record] = [
    *BEGUN,
    prompted("go"),
    CycleStarted(at=0, cycle=1),
    MessageAdded(
        at=0,
        message={"role": "assistant", "content": [{"toolUse": USE}, {"toolUse": {**USE, "toolUseId": "t1"}}]},
        origin="model",
        stop_reason="tool_use",
    ),
]
RESULTS = MessageAdded(at=0, message={"role": "user", "content": [{"toolResult": RESULT}]}, origin="tools")
STEER = SignalReceived(at=0, signal_id="s", kind="steer", body="And?")
CANCEL = SignalReceived(at=0, signal_id="c", kind="cancel")


def decided(event: str, verdict: str, value: Any = None) -> HookDecided:
    return HookDecided(at=0, event=event, verdict=verdict, value=value)


def folded(*records: Record) -> RunState:
    return fold(Entry(seq, 1, record) for seq, record in enumerate(records, 1))


def after(*records: Record) -> Step | None:
    return decide(folded(*records))


def test_changed_messages_take_the_place_of_the_prompt() -> None:
    messages: list[Message] = [{"role": "user", "content": [{"text": "a"}]}, SAID]
    first = after(*BEGUN, decided("BeforeInvocationEvent", "messages", messages))
    assert first == AddMessage(messages[0], "prompt")
    rest = [MessageAdded(at=0, message=message, origin="prompt") for message in messages]
    assert after(*BEGUN, decided("BeforeInvocationEvent", "messages", messages), *rest) == StartCycle(1)


@pytest.mark.parametrize(
    "records",
    [
        [*BEGUN, decided("BeforeInvocationEvent", "cancel", SAID)],
        [*CALLED, decided("AfterToolsEvent", "end_turn", SAID), RESULTS],
        [*BEGUN, prompted("go"), CycleStarted(at=0, cycle=1), decided("BeforeModelCallEvent", "cancel", SAID)],
    ],
)
def test_a_turn_that_a_hook_ended_ends_with_its_message_unless_a_steer_came(records: list[Record]) -> None:
    for end in (after(*records), after(*records, CANCEL)):
        assert isinstance(end, Finish)
        assert (end.result["stop_reason"], end.result["message"]) == ("end_turn", SAID)
    steered = after(*records, STEER)
    assert isinstance(steered, AddMessage)
    assert steered.origin == "steer"
    said = MessageAdded(at=0, message=steered.message, origin="steer")
    assert isinstance(after(*records, STEER, said), StartCycle)


def test_calls_that_a_hook_refused_get_its_text() -> None:
    step = after(*CALLED, decided("BeforeToolsEvent", "cancel", "not now"))
    assert isinstance(step, CancelTools)
    assert (step.text, [index for index, _ in step.calls]) == ("not now", [0, 1])


def test_a_question_about_all_calls_pauses_until_its_response() -> None:
    asked = HookDecided(at=0, event="BeforeToolsEvent", verdict="interrupt", interrupts=[ASKED])
    step = after(*CALLED, asked)
    assert isinstance(step, Pause)
    assert step.interrupts == [ASKED]
    answered = after(*CALLED, asked, SignalReceived(at=0, signal_id="r", kind="respond", body={"i1": "yes"}))
    assert isinstance(answered, RunTools)
    assert len(answered.calls) == 2


def test_a_dropped_result_lets_the_call_run_again_as_a_new_one() -> None:
    started = ToolStarted(at=0, index=0, tool_use=USE, effect_key="r/t0")
    changed = ToolDecided(at=0, index=0, tool_use=USE, verdict="change", change=USE)
    dropped = ToolDecided(at=0, index=0, tool_use=USE, verdict="retry")
    step = after(*CALLED, changed, started, dropped)
    assert isinstance(step, RunTools)
    assert ([index for index, _ in step.calls], step.started) == ([0, 1], frozenset())
    assert folded(*CALLED, changed, started, dropped).decided == {}
    assert folded(*CALLED, changed, started, dropped).keys == {0: "r/t0"}, "its effect key stays"


def test_a_body_that_asks_is_decided_about_again_and_an_unknown_outcome_is_not() -> None:
    changed = ToolDecided(at=0, index=0, tool_use=USE, verdict="change", change=USE)
    started = ToolStarted(at=0, index=0, tool_use=USE, effect_key="r/t0")
    body = ToolInterrupted(at=0, index=0, tool_use=USE, interrupts=[{**ASKED, "id": "v1:tool_call:t0:x"}])
    outcome = ToolInterrupted(at=0, index=0, tool_use=USE, interrupts=[{**ASKED, "id": "v1:unknown_outcome:t0"}])
    assert folded(*CALLED, changed, started, body).decided == {}
    assert folded(*CALLED, changed, started, outcome).decided == {0: changed}


def test_a_run_that_goes_on_opens_with_its_new_prompt_and_a_cycle_that_says_so() -> None:
    ended: list[Record] = [
        *BEGUN,
        prompted("go"),
        CycleStarted(at=0, cycle=1),
        MessageAdded(at=0, message=SAID, origin="model", stop_reason="end_turn"),
    ]
    assert isinstance(after(*ended), Finish)
    resumed = [*ended, decided("AfterInvocationEvent", "resume", "And?")]
    step = after(*resumed)
    assert isinstance(step, AddMessage)
    assert step == AddMessage({"role": "user", "content": [{"text": "And?"}]}, "prompt")
    assert after(*resumed, prompted("And?")) == StartCycle(2, resumes=True)
    assert after(*resumed, prompted("And?"), CycleStarted(at=0, cycle=2, resumes=True)) is not None


def test_an_unknown_verdict_changes_nothing() -> None:
    assert folded(*CALLED, decided("BeforeInvocationEvent", "dream", 1)) == folded(*CALLED)


def test_a_fork_has_no_other_prompt_after_a_hook_has_decided_about_it() -> None:
    records = [*BEGUN, decided("BeforeInvocationEvent", "messages", [SAID])]
    entries = [Entry(seq, 1, record) for seq, record in enumerate(records, 1)]
    with pytest.raises(
        ValueError, match="has begun with its prompt at record 3: for another prompt fork it at 2 or before"
    ):
        next_records(entries, Fork(at=3, prompt="Else."), parent="r", history=[])
    assert next_records(entries[:2], Fork(at=2, prompt="Else."), parent="r", history=[]) == []
