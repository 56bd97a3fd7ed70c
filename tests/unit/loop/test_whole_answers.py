"""An answer whose chunks are all in the log is never withdrawn: the next owner adds its message."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.decide import decide
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.left_call import joined, whole_answer
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    RunClaimed,
    RunSubmitted,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.steps import AddAnswer, CallModel
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c
from playhead.runtime.replay import EntriesRecording, verify
from tests.support.results import timeless_result

__all__: list[str] = []

pytestmark = pytest.mark.anyio

WHOLE = text_call("Hello there.")
CALL = tool_call("look", {}, "t1", "Let me look.")
METADATA = WHOLE[-1]
REDACT: Chunk = {"redactContent": {"redactAssistantContentMessage": "[withdrawn]"}}


@tool
async def look() -> str:
    """Look."""
    return "seen"


def agent_of(*calls: Any, **options: Any) -> Agent:
    model = ScriptedModel(list(calls), continues_partial=True)
    return Agent(model, name="a", tools=[look], callback_handler=None, **options)


async def owned(log: list[Entry], agent: Agent, *, upto: int | None = None, cancel: bool = False) -> None:
    """Another owner of the run, which dies after record `upto`."""
    epoch = log[-1].epoch + 1
    log.append(Entry(len(log) + 1, epoch, RunClaimed(at=0, worker=f"w{epoch}")))
    if len(log) == upto:
        return
    state, control = fold(log), Control()
    if cancel:
        control.deliver([Signal("s", "cancel")])
    left = open_chunks(state, log)
    loop = Loop(agent.spec, run_id="r", state=state, head=len(log), epoch=epoch, control=control, partial=left)
    async with aclosing(loop.records()) as items:
        async for item in items:
            if not isinstance(item, Flush):
                log.append(Entry(loop.head, epoch, record_of(item)))
            if len(log) == upto:
                return


def new_run() -> list[Entry]:
    return [Entry(1, 0, RunSubmitted(at=0, agent="a", prompt="hi"))]


def contents(log: list[Entry]) -> list[Any]:
    return [message.get("content") for message in fold(log).messages]


def asked(agent: Agent) -> int:
    model: Any = agent.spec.model
    return len(model.requests)


@pytest.mark.parametrize("on_partial", ["retract", pytest.param("continue", marks=pytest.mark.exhaustive)])
async def test_killed_after_any_record_the_model_is_called_again_only_before_its_last_chunk(on_partial: Any) -> None:
    whole = new_run()
    await owned(whole, agent_of(CALL, WHOLE, on_partial=on_partial))
    for cut in range(2, len(whole)):
        first, log = agent_of(CALL, WHOLE, on_partial=on_partial), new_run()
        await owned(log, first, upto=cut)
        kept = sum("metadata" in entry.record.chunk for entry in log if isinstance(entry.record, ModelChunk))
        heir = agent_of(*[CALL, WHOLE][kept:], on_partial=on_partial)
        await owned(log, heir)
        where = f"cut after record {cut}, {whole[cut - 1].record.type}"
        if on_partial == "retract":
            assert contents(log) == contents(whole), where
            assert timeless_result(log[-1].record)["metrics"] == timeless_result(whole[-1].record)["metrics"], where
        assert asked(heir) == 2 - kept, where
        retracted = [event for entry in log for event in Projection("r").feed(entry) if "retracted" in event]
        assert not (kept and retracted), where
        found = await verify(EntriesRecording(log, {}, run_id="r"), heir)
        assert found.same, f"{where}: {found.text}"


@pytest.mark.parametrize(
    ("chunks", "whole"),
    [
        (WHOLE, True),
        (WHOLE[:-1], False),  # the tokens, or a guardrail's redaction, may have been on their way
        ([*WHOLE, METADATA], True),
        ([*WHOLE, {"novelty": {}}], True),
        ([*WHOLE[:-1], REDACT], False),
        ([METADATA, *WHOLE[:-1]], False),
        ([*WHOLE[:3], METADATA], False),
        ([METADATA], False),
        ([], False),
    ],
)
def test_an_answer_is_whole_once_its_metadata_has_come_after_its_stop(chunks: list[Chunk], whole: bool) -> None:
    assert (whole_answer(chunks) is not None) == whole


def test_what_a_guardrail_put_in_place_of_the_answer_is_what_is_added() -> None:
    answer = whole_answer([*WHOLE[:-1], REDACT, METADATA])
    assert answer is not None
    assert answer.message.get("content") == [{"text": "[withdrawn]"}]


@pytest.mark.parametrize("more", [text_call(", Ada."), CALL, [c.text_delta("!"), c.block_stop()], []])
def test_calls_that_continue_each_other_join_as_the_loop_joins_them(more: list[Chunk]) -> None:
    half = [c.message_start(), c.block_start(), c.text_delta("Hello")]
    looped = MessageAssembler()
    for chunk in half:
        looped.feed(chunk)
    looped.go_on()
    for chunk in more:
        looped.feed(chunk)
    together = MessageAssembler()
    for chunk in joined([half, more]):
        together.feed(chunk)
    assert together.message() == looped.message()
    assert together.stop_reason == looped.stop_reason


async def test_a_whole_answer_that_continued_another_call_is_added_with_the_text_of_both() -> None:
    log = new_run()
    await owned(log, agent_of(WHOLE, on_partial="continue"), upto=8)  # "Hello"
    after = [c.message_start(), c.tool_start("t1", "look"), c.tool_delta("{}"), c.block_stop()]
    second = agent_of([*after, c.message_stop("tool_use"), METADATA, c.text_delta("never")], on_partial="continue")
    await owned(log, second, upto=len(log) + 8)
    assert isinstance(log[-1].record, ModelChunk)
    assert log[-1].record.chunk == METADATA
    heir = agent_of(WHOLE, on_partial="continue")
    await owned(log, heir)
    use = {"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}
    assert contents(log)[1][-1] == use
    assert contents(log)[1][0]["text"].startswith("Hello")
    assert asked(heir) == 1
    assert not any(isinstance(entry.record, ModelRetried) for entry in log)


@pytest.mark.parametrize("answer", [WHOLE, CALL])
async def test_a_cancel_after_the_death_keeps_the_whole_answer_and_runs_no_tool(answer: list[Chunk]) -> None:
    log = new_run()
    await owned(log, agent_of(answer), upto=5 + len(answer))
    heir = agent_of()
    await owned(log, heir, cancel=True)
    added = [e.record for e in log if isinstance(e.record, MessageAdded) and e.record.origin == "model"]
    assert [record.stop_reason for record in added] == ["tool_use" if answer is CALL else "end_turn"]
    types = [entry.record.type for entry in log]
    assert "tool.started" not in types
    assert types[-1] == ("run.cancelled" if answer is CALL else "run.completed")


async def test_a_log_in_which_an_older_version_withdrew_a_whole_answer_verifies() -> None:
    log = new_run()
    await owned(log, agent_of(WHOLE), upto=5 + len(WHOLE))
    head = len(log)
    log.append(Entry(head + 1, 2, RunClaimed(at=0, worker="w2")))
    log.append(Entry(head + 2, 2, ModelRetried(at=0, supersedes=(5, head), reason="its worker stopped half-way")))
    log.append(Entry(head + 3, 2, ModelStarted(at=0, attempt=2)))
    assert decide(fold(log[: head + 1])) == CallModel(attempt=2, supersedes=(5, head))
    await owned(log, agent_of(WHOLE))
    found = await verify(EntriesRecording(log, {}, run_id="r"), agent_of(WHOLE))
    assert found.same, found.text


async def test_an_answer_is_added_only_for_the_call_that_broke_off() -> None:
    answer = AddAnswer({"role": "assistant", "content": []}, "end_turn")
    log = [*new_run(), Entry(2, 1, RunClaimed(at=0, worker="w")), Entry(3, 1, CycleStarted(at=0, cycle=1))]
    assert decide(fold(log), answer=answer) == CallModel(attempt=1)
