"""A history that is too long: reduced after an overflow, before a call and at the end, by every owner in the same way."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from playhead.runtime import (
    Agent,
    ContextWindowOverflowException,
    Event,
    NullConversationManager,
    SlidingWindowConversationManager,
    SummarizingConversationManager,
    tool,
)
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.context import is_marker
from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import ContextReduced, Entry, ModelFailed, ModelStarted, RunClaimed, RunSubmitted
from playhead.runtime.core.requests import request_of
from playhead.runtime.core.segments import Segment, record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import transcript
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.replay import EntriesRecording, verify
from tests.support.results import timeless_result

__all__: list[str] = []

pytestmark = pytest.mark.anyio

OVERFLOW = ScriptedCall(error=ContextWindowOverflowException("too long"))
BEFORE: list[Message] = [
    {"role": "user", "content": [{"text": "one"}]},
    {"role": "assistant", "content": [{"text": "1"}]},
    {"role": "user", "content": [{"text": "two"}]},
    {"role": "assistant", "content": [{"text": "2"}]},
]
SLIDING = SlidingWindowConversationManager(window_size=4)
SUMMARIZING = SummarizingConversationManager(summary_ratio=0.5, preserve_recent_messages=1)


@tool
async def look() -> str:
    """Look."""
    return "far " * 400


@dataclass
class World:
    """A model that answers by what it is sent, so that any owner's goes on: it refuses more than `most` characters."""

    manager: Any
    most: int
    tools: bool = False
    asked: list[Any] = field(default_factory=list[Any])

    def answer(self, messages: Any) -> Any:
        self.asked.append(messages)
        last = messages[-1]["content"]
        if last[-1].get("text", "").startswith("Please summarize"):
            return "They counted."
        if sum(len(str(block)) for message in messages for block in message["content"]) > self.most:
            return OVERFLOW
        return tool_call("look", {}, "t1") if self.tools and "toolResult" not in last[0] else "Shorter."

    @property
    def agent(self) -> Agent:
        return Agent(
            ScriptedModel([self.answer], repeat=True),
            name="a",
            tools=[look],
            messages=[*BEFORE],
            conversation_manager=self.manager,
            system_prompt="Be brief.",
            callback_handler=None,
        )


def new_run() -> list[Entry]:
    return [Entry(1, 0, RunSubmitted(at=0, agent="a", prompt="three"))]


async def owned(log: list[Entry], agent: Agent, *, upto: int | None = None, cancel: bool = False) -> None:
    """Another owner of the run, which dies after record `upto`."""
    epoch = log[-1].epoch + 1
    digest = agent.definition.stored().digest
    log.append(Entry(len(log) + 1, epoch, RunClaimed(at=0, worker=f"w{epoch}", definition=digest)))
    if len(log) == upto:
        return
    state, control = fold(log, history=agent.messages), Control()
    if cancel:
        control.deliver([Signal("s", "cancel")])
    left = open_chunks(state, log)
    loop = Loop(agent.spec, run_id="r", state=state, head=len(log), epoch=epoch, control=control, partial=left)
    async with aclosing(loop.records()) as items:
        async for item in items:
            if not isinstance(item, Flush):
                log.append(Entry(loop.head, epoch, decode_record(encode_record(record_of(item)))))
            if len(log) == upto:
                return


def played(log: list[Entry]) -> list[Event]:
    projection = Projection("r")
    return [event for entry in log for event in projection.feed(entry)]


def texts(messages: Any) -> list[str]:
    return [block["text"] for message in messages for block in message["content"] if "text" in block]


def kinds(log: list[Entry]) -> list[str]:
    return [entry.record.type for entry in log if entry.record.type != "model.chunk"][2:]


async def test_after_an_overflow_the_cycle_runs_again_with_a_shorter_history() -> None:
    world, log = World(SLIDING, most=70), new_run()
    await owned(log, world.agent)
    assert kinds(log) == [
        "message.added",
        "cycle.started",
        "model.started",
        "model.retried",
        "model.failed",
        "context.reduced",
        "cycle.started",
        "model.started",
        "message.added",
        "run.completed",
    ]
    assert [texts(sent) for sent in world.asked] == [["one", "1", "two", "2", "three"], ["two", "2", "three"]]
    shown = [next(iter(event)) for event in played(log) if "event" not in event and "data" not in event]
    again = ["start", "start_event_loop"]
    assert shown == ["init_event_loop", *again, "force_stop", *again, "message", "result"]
    state = fold(log, history=BEFORE)
    assert texts(state.messages) == ["two", "2", "three", "Shorter."]
    assert dict(log[-1].record)["result"]["metrics"]["cycles"] == 2


async def test_a_session_gets_every_message_and_a_marker_of_the_reduction() -> None:
    log = new_run()
    await owned(log, World(SLIDING, most=70).agent)
    added = fold(log, history=BEFORE).added
    assert texts(one for one in added if not is_marker(one)) == ["three", "Shorter."]
    assert [is_marker(one) for one in added] == [False, True, False]
    assert texts(fold([], history=[*BEFORE, *added]).messages) == ["two", "2", "three", "Shorter."]


@pytest.mark.parametrize(
    ("manager", "most", "tools"),
    [
        pytest.param(SLIDING, 1300, True, marks=pytest.mark.exhaustive),
        pytest.param(SLIDING, 70, False, marks=pytest.mark.exhaustive),
        (SUMMARIZING, 72, False),
    ],
)
async def test_killed_after_any_record_the_run_comes_to_the_same_end_and_verifies(
    manager: Any, most: int, tools: bool
) -> None:
    whole = new_run()
    await owned(whole, World(manager, most, tools=tools).agent)
    assert "context.reduced" in kinds(whole)
    history = texts(fold(whole, history=BEFORE).messages)
    for cut in range(2, len(whole)):
        log = new_run()
        await owned(log, World(manager, most, tools=tools).agent, upto=cut)
        heir = World(manager, most, tools=tools)
        await owned(log, heir.agent)
        where = f"cut after record {cut}, {whole[cut - 1].record.type}"
        assert texts(fold(log, history=BEFORE).messages) == history, where
        result, expected = timeless_result(log[-1].record), timeless_result(whole[-1].record)
        assert result == {**expected, "message": result["message"]}, where
        stored = heir.agent.definition.stored()
        recording = EntriesRecording(log, {stored.digest: heir.agent.definition}, run_id="r")
        found = await verify(recording, heir.agent)
        assert found.same, f"{where}: {found.text}"


async def test_long_results_are_shortened_before_messages_are_left_out() -> None:
    world, log = World(SlidingWindowConversationManager(), most=1300, tools=True), new_run()
    await owned(log, world.agent)
    (reduction,) = [entry.record for entry in log if isinstance(entry.record, ContextReduced)]
    assert (reduction.reason, reduction.cut, reduction.removed) == ("overflow", -1, [])
    assert "[truncated: 1200 chars removed]" in str(world.asked[-1])


# The summary


async def test_a_summary_is_written_by_a_recorded_call_that_readers_do_not_see() -> None:
    world, log = World(SUMMARIZING, most=72), new_run()
    await owned(log, world.agent)
    calls = [entry for entry in log if isinstance(entry.record, ModelStarted)]
    summary = calls[1].record
    assert isinstance(summary, ModelStarted)
    assert summary.summarizes == [(-5, -4)]
    (reduction,) = [entry.record for entry in log if isinstance(entry.record, ContextReduced)]
    assert reduction.usage["outputTokens"] == 2
    assert texts(world.asked[1]) == ["one", "1", "Please summarize this conversation."]
    assert texts(world.asked[2]) == ["They counted.", "two", "2", "three"]
    events = played(log)
    assert "".join(event["data"] for event in events if "data" in event) == "Shorter."
    assert [event["message"]["content"] for event in events if "message" in event] == [[{"text": "Shorter."}]]
    segment = Segment(2, 1, [entry.record for entry in log[1:]])
    projection = Projection("r")
    projection.feed(log[0])
    assert list(projection.events(segment)) == events, "page by page, too"
    usage = dict(log[-1].record)["result"]["metrics"]["usage"]
    assert usage["outputTokens"] == 1, "as in Strands, the result does not count the summary's tokens"
    assert [bar.name for bar in timeline(log).bars if bar.kind == "model"] == ["cycle 1", "summary", "cycle 2"]
    notes = [f"{item.title} {item.text}" for item in transcript(log) if item.kind == "note"]
    assert notes[-1] == "the history is reduced: 2 messages summarized They counted."


async def test_every_request_is_told_by_the_records_that_of_the_summary_too() -> None:
    world, log = World(SUMMARIZING, most=72), new_run()
    agent = world.agent
    await owned(log, agent)
    starts = [entry.seq for entry in log if isinstance(entry.record, ModelStarted)]
    told = [request_of(log[:seq], definition=agent.definition) for seq in starts]
    model: Any = agent.spec.model
    assert told == model.requests
    assert [request.tool_specs is None for request in told] == [False, True, False]


@pytest.mark.parametrize(
    ("call", "error_type"),
    [
        ([], "RuntimeError"),
        (ScriptedCall(error=KeyError("bug")), "KeyError"),
        (OVERFLOW, "ContextWindowOverflowException"),
    ],
)
async def test_a_summary_that_fails_fails_the_run_after_the_force_stop_of_the_overflow(
    call: Any, error_type: str
) -> None:
    agent = Agent(
        ScriptedModel([OVERFLOW, call]),
        messages=[*BEFORE],
        conversation_manager=SUMMARIZING,
        callback_handler=None,
    )
    events, raised = list[Event](), None
    try:
        async for event in agent.stream_async("three"):
            events.append(event)
    except Exception as error:
        raised = error
    assert type(raised).__name__ == error_type
    assert [event["force_stop_reason"] for event in events if "force_stop" in event] == ["too long"]


async def test_a_whole_summary_of_a_dead_owner_is_used_and_not_paid_for_again() -> None:
    log = new_run()
    await owned(log, World(SUMMARIZING, most=72).agent)
    at = next(entry.seq for entry in log if isinstance(entry.record, ContextReduced))
    log, heir = log[: at - 1], World(SUMMARIZING, most=72)
    await owned(log, heir.agent)
    assert [texts(sent)[0] for sent in heir.asked] == ["They counted."]


# Other reductions


async def test_at_the_end_of_a_run_the_window_is_applied_once_and_the_result_stays() -> None:
    agent = Agent(
        ScriptedModel(["Hello", "Again"]),
        messages=[*BEFORE],
        conversation_manager=SlidingWindowConversationManager(window_size=0),
        callback_handler=None,
    )
    result = await agent.invoke_async("three")
    assert str(result) == "Hello\n"
    assert agent.messages == []
    assert str(await agent.invoke_async("four")) == "Again\n"


async def test_a_window_that_finds_no_place_to_begin_changes_nothing_and_the_run_ends() -> None:
    alone: list[Message] = [{"role": "assistant", "content": [{"text": str(n)}]} for n in range(5)]
    agent = Agent(
        ScriptedModel(["Hello"]),
        messages=alone,
        conversation_manager=SlidingWindowConversationManager(window_size=1),
        callback_handler=None,
    )
    await agent.invoke_async(None)
    assert len(agent.messages) == 6


async def test_per_turn_applies_the_window_before_every_model_call() -> None:
    model = ScriptedModel([tool_call("look", {}, "t1"), tool_call("look", {}, "t2"), "Done."])
    manager = SlidingWindowConversationManager(window_size=2, per_turn=True)
    agent = Agent(model, tools=[look], messages=[*BEFORE], conversation_manager=manager, callback_handler=None)
    await agent.invoke_async("three")
    assert [len(request.messages) for request in model.requests] == [1, 2, 2]


class Small(ScriptedModel):
    """A model with a context of twenty tokens."""

    def get_config(self) -> dict[str, Any]:
        return {"context_window_limit": 20}


async def test_a_history_that_nearly_fills_the_context_is_reduced_before_the_call() -> None:
    model = Small(["One.", "Two.", "Three."])
    manager = SlidingWindowConversationManager(proactive_compression=True)
    agent = Agent(model, conversation_manager=manager, callback_handler=None)
    assert agent.definition.conversation_manager["context_window_limit"] == 20
    for prompt in ("one", "two " * 6):
        await agent.invoke_async(prompt)
    assert [texts(request.messages) for request in model.requests] == [["one"], ["two " * 6]]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_summary_before_a_call_is_used_and_left_out_if_it_fails(fails: bool) -> None:
    summary = ScriptedCall(error=KeyError("bug")) if fails else "They said hello."
    model = Small([text_call("One."), summary, "Two."])
    manager = SummarizingConversationManager(0.5, 1, proactive_compression={"compression_threshold": 0.6})
    agent = Agent(model, name="a", conversation_manager=manager, callback_handler=None)
    await agent.invoke_async("one")
    history = [*agent.messages]
    log = [Entry(1, 0, RunSubmitted(at=0, agent="a", prompt="two"))]
    await owned(log, agent)
    assert texts(model.requests[-1].messages) == (
        ["one", "One.", "two"] if fails else ["They said hello.", "One.", "two"]
    )
    assert log[-1].record.type == "run.completed"
    assert [event for event in played(log) if "force_stop" in event or "retracted" in event] == []
    assert [next(iter(event)) for event in played(log)].count("start") == 1, "it is the same cycle"
    stored = agent.definition.stored()
    for cut in range(2, len(log)):
        again = [*log[:cut]]
        heir = Agent(
            Small([summary, "Two."] if cut < 6 else ["They said hello.", "Two."]),
            name="a",
            messages=history,
            conversation_manager=manager,
            callback_handler=None,
        )
        await owned(again, heir)
        assert again[-1].record.type == "run.completed", cut
    whole = EntriesRecording(log, {stored.digest: agent.definition}, run_id="r")
    judge = Agent(Small([]), name="a", messages=history, conversation_manager=manager, callback_handler=None)
    found = await verify(whole, judge, ignore=["history"])
    assert found.same, found.text


async def test_a_history_that_cannot_be_reduced_fails_the_run_in_strands_words() -> None:
    agent = Agent(ScriptedModel([OVERFLOW], repeat=True), callback_handler=None)
    with pytest.raises(ContextWindowOverflowException, match="Unable to trim conversation context!"):
        await agent.invoke_async("three")


async def test_a_manager_that_keeps_all_fails_the_run_with_the_models_own_error() -> None:
    agent = Agent(ScriptedModel([OVERFLOW]), conversation_manager=NullConversationManager(), callback_handler=None)
    with pytest.raises(ContextWindowOverflowException, match="too long") as raised:
        await agent.invoke_async("three")
    assert raised.value is OVERFLOW.error


@pytest.mark.parametrize("manager", [SLIDING, SUMMARIZING])
async def test_a_cancel_after_an_overflow_reduces_nothing_more_and_asks_no_model(manager: Any) -> None:
    log = new_run()
    await owned(log, World(manager, most=70).agent)
    failed = next(entry.seq for entry in log if isinstance(entry.record, ModelFailed))
    for at in (failed, failed + 1):
        cut, heir = log[:at], World(manager, most=70)
        await owned(cut, heir.agent, cancel=True)
        assert heir.asked == []
        assert cut[-1].record.type == "run.cancelled"
        assert dict(cut[-1].record)["result"]["message"]["content"] == [{"text": "Cancelled by user"}]


async def test_what_a_guardrail_withdraws_after_a_reduction_is_withdrawn_from_the_session_too() -> None:
    guarded = text_call("No.")
    guarded.insert(1, {"redactContent": {"redactUserContentMessage": "[gone]"}})
    log = new_run()
    agent = Agent(
        ScriptedModel([OVERFLOW, guarded]),
        name="a",
        messages=[*BEFORE],
        conversation_manager=SLIDING,
        callback_handler=None,
    )
    await owned(log, agent)
    state = fold(log, history=BEFORE)
    assert "three" not in str(state.added)
    assert texts(one for one in state.added if not is_marker(one)) == ["[gone]", "No."]
