"""`on_partial="continue"`: what is kept of a model call that died half-way, and how another continues it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from playhead.runtime import Agent
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.decide import decide
from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.message_assembler import MessageAssembler, partial_text
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunSubmitted,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.steps import CallModel
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import OpenAIModel, ScriptedModel, text_call
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HELLO = [c.message_start(), c.block_start(), c.text_delta("Hello"), c.text_delta(" there")]
SIGNATURE: Chunk = {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "s"}}}}
CITATION: Chunk = {"contentBlockDelta": {"delta": {"citation": {"title": "t"}}}}
REDACT: Chunk = {"redactContent": {"redactAssistantContentMessage": "no"}}


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (HELLO, "Hello there"),
        ([*HELLO, c.text_delta("")], "Hello there"),
        ([*HELLO, *HELLO], "Hello thereHello there"),
        (HELLO[:1] + HELLO[2:], "Hello there"),
        ([], None),
        (HELLO[:2], None),
        ([*HELLO[:2], c.text_delta(" \n")], None),
        ([*HELLO, c.text_delta(" ")], None),
        ([*HELLO, c.text_delta("!\n")], None),
        ([*HELLO, c.block_stop()], None),
        ([*HELLO, c.message_stop("end_turn")], None),
        ([*HELLO, c.tool_start("t1", "add")], None),
        ([*HELLO, c.tool_delta("{")], None),
        ([c.message_start(), c.block_start(), c.reasoning_delta("hm")], None),
        ([*HELLO, c.reasoning_delta("hm")], None),
        ([*HELLO, SIGNATURE], None),
        ([*HELLO, CITATION], None),
        ([*HELLO, REDACT], None),
        ([*HELLO, {"novelty": {}}], None),
    ],
)
def test_only_open_text_that_providers_take_is_gone_on_from(chunks: list[Chunk], text: str | None) -> None:
    assert partial_text(chunks) == text


def log_of(*records: Record) -> list[Entry]:
    return [Entry(seq, 1, record) for seq, record in enumerate(records, 1)]


def begun(*chunks: Chunk) -> list[Record]:
    """A run up to these chunks of its first model call."""
    prompt = MessageAdded(at=0, origin="prompt", message={"role": "user", "content": [{"text": "hi"}]})
    submitted = RunSubmitted(at=0, agent="a", prompt="hi")
    opened = [submitted, RunClaimed(at=0, worker="w1"), prompt, CycleStarted(at=0, cycle=1), ModelStarted(at=0)]
    return [*opened, *(ModelChunk(at=0, chunk=chunk) for chunk in chunks)]


def decided(records: Sequence[Record], *, goes_on: bool = True) -> object:
    log = log_of(*records)
    state = fold(log)
    return decide(state, partial=open_chunks(state, log) if goes_on else ())


def test_the_rule_is_the_same_however_often_the_call_dies() -> None:
    first = [*begun(*HELLO), RunClaimed(at=0, worker="w2")]
    assert decided(first) == CallModel(attempt=2, partial="Hello there")
    assert decided(first, goes_on=False) == CallModel(attempt=2, supersedes=(5, 9))
    again = [*first, ModelStarted(at=0, attempt=2, continues=True)]
    second = [*again, RunHandedOver(at=0, worker="w2"), RunClaimed(at=0, worker="w3")]
    assert decided(second) == CallModel(attempt=3, partial="Hello there"), "it died before it said anything"
    more = [ModelChunk(at=0, chunk=chunk) for chunk in (c.message_start(), c.block_start(), c.text_delta(", Ada"))]
    third = [*again, *more, RunClaimed(at=0, worker="w3")]
    assert decided(third) == CallModel(attempt=3, partial="Hello there, Ada")
    tool = [*again, *more, ModelChunk(at=0, chunk=c.tool_start("t1", "add")), RunClaimed(at=0, worker="w3")]
    assert decided(tool) == CallModel(attempt=3, supersedes=(5, 15)), "withdrawn from where the message began"


async def taken_over(model: Any, *chunks: Chunk) -> list[Entry]:
    """The log of a run whose first call died after `chunks` and that an agent with `model` goes on with."""
    log = log_of(*begun(*chunks))
    log.append(Entry(len(log) + 1, 2, RunClaimed(at=0, worker="w2")))
    agent = Agent(model, name="a", on_partial="continue", callback_handler=None)
    state = fold(log)
    loop = Loop(agent.spec, run_id="r", state=state, head=len(log), epoch=2, partial=open_chunks(state, log))
    async with aclosing(loop.records()) as items:
        log += [Entry(loop.head, 2, record_of(item)) async for item in items if not isinstance(item, Flush)]
    return log


def played(log: list[Entry], *, after: str | None = None) -> list[Event]:
    projection = Projection("r", after=after)
    return [event for entry in log for event in projection.feed(entry)]


async def test_the_model_is_sent_the_partial_message_and_its_text_goes_on_after_it() -> None:
    model = ScriptedModel(["Hello there, how are you?"], continues_partial=True)
    log = await taken_over(model, *HELLO)
    assert model.requests[0].messages == [
        {"role": "user", "content": [{"text": "hi"}]},
        {"role": "assistant", "content": [{"text": "Hello there"}]},
    ]
    assert not any(isinstance(entry.record, ModelRetried) for entry in log)
    (added,) = [e.record for e in log if isinstance(e.record, MessageAdded) and e.record.origin == "model"]
    assert added.message.get("content") == [{"text": "Hello there, how are you?"}]
    end = log[-1].record
    assert isinstance(end, RunCompleted)
    assert end.result["message"] == added.message


async def test_readers_see_one_message_and_only_new_text() -> None:
    log = await taken_over(ScriptedModel(["Hello there, Ada."], continues_partial=True), *HELLO)
    events = played(log)
    assert [event["data"] for event in events if "data" in event] == ["Hello", " there", ",", " Ada."]
    kinds = [kind for event in events if "event" in event for kind in event["event"]]
    assert kinds.count("messageStart") == kinds.count("contentBlockStart") == kinds.count("contentBlockStop") == 1
    for event in events:
        assert played(log, after=event.cursor) == events[events.index(event) + 1 :]


async def test_a_reader_that_joins_after_the_second_start_reads_back_to_the_first() -> None:
    log = await taken_over(ScriptedModel(["Hello there, Ada."], continues_partial=True), *HELLO)
    may_begin = [entry.seq for entry in log if Projection.may_begin_at(entry.record)]
    starts = [entry.seq for entry in log if isinstance(entry.record, ModelStarted)]
    assert len(starts) == 2
    assert starts[0] in may_begin
    assert starts[1] not in may_begin


async def test_a_call_that_goes_on_with_a_tool_call_ends_the_text_first() -> None:
    call = [
        c.message_start(),
        c.tool_start("t1", "none"),
        c.tool_delta("{}"),
        c.block_stop(),
        c.message_stop("tool_use"),
    ]
    log = await taken_over(ScriptedModel([call, "Done."], continues_partial=True), *HELLO)
    added = [e.record for e in log if isinstance(e.record, MessageAdded) and e.record.origin == "model"]
    use = {"toolUseId": "t1", "name": "none", "input": {}}
    assert added[0].message.get("content") == [{"text": "Hello there"}, {"toolUse": use}]


async def test_a_call_that_goes_on_with_nothing_keeps_what_was_said() -> None:
    log = await taken_over(ScriptedModel(["Hello there"], continues_partial=True), *HELLO)
    added = [e.record for e in log if isinstance(e.record, MessageAdded) and e.record.origin == "model"]
    assert added[0].message.get("content") == [{"text": "Hello there"}]


class Refusing:
    """Says that it goes on, and refuses."""

    continues_partial = True

    def __init__(self, *, after: Sequence[Chunk] = ()) -> None:
        self.after = after
        self.asked: list[Messages] = []

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterator[Chunk]:
        self.asked.append(messages)
        if messages[-1].get("role") == "assistant":
            for chunk in self.after:
                yield chunk
            raise RuntimeError("prefill is not allowed")
        for chunk in text_call("Anew."):
            yield chunk


async def test_a_server_that_refuses_to_go_on_is_asked_anew_and_the_text_is_withdrawn() -> None:
    log = await taken_over(Refusing(), *HELLO)
    (retried,) = [entry for entry in log if isinstance(entry.record, ModelRetried)]
    assert dict(retried.record)["supersedes"] == (5, retried.seq - 1)
    assert "prefill is not allowed" in dict(retried.record)["reason"]
    (retracted,) = [event for event in played(log) if "retracted" in event]
    assert retracted["text"] == "Hello there"
    end = log[-1].record
    assert isinstance(end, RunCompleted)
    assert end.result["message"]["content"] == [{"text": "Anew."}]


async def test_a_model_that_fails_while_it_goes_on_fails_the_run() -> None:
    log = await taken_over(Refusing(after=[c.message_start()]), *HELLO)
    assert isinstance(log[-1].record, RunFailed)


@pytest.mark.parametrize("model", [ScriptedModel([]), OpenAIModel("m"), "demo"])
def test_an_agent_whose_model_cannot_go_on_says_so_at_first_use(model: Any) -> None:
    agent = Agent(model, on_partial="continue")
    with pytest.raises(ModelConfigurationError, match="continues_partial"):
        _ = agent.spec
    assert Agent(model).spec.on_partial == "retract"


def test_an_unknown_policy_is_refused() -> None:
    odd: Any = "keep"
    with pytest.raises(ValueError, match="'retract' or 'continue', not 'keep'"):
        Agent(on_partial=odd)


def test_the_assembler_goes_on_only_with_the_first_block() -> None:
    assembler = MessageAssembler()
    for chunk in HELLO:
        assembler.feed(chunk)
    assembler.go_on()
    for chunk in [*text_call(", Ada"), *text_call("More")[1:]]:
        assembler.feed(chunk)
    assert assembler.message().get("content") == [{"text": "Hello there, Ada"}, {"text": "More"}]
    assert assembler.text == "Hello there, AdaMore"
