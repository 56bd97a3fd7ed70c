"""A call that was begun and not finished when its worker died: what its tool's declaration makes of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.evolve import fold
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
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedModel
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__: list[str] = []

pytestmark = pytest.mark.anyio

PAY: ToolUse = {"toolUseId": "t1", "name": "pay", "input": {}}
LOOK: ToolUse = {"toolUseId": "t2", "name": "look", "input": {}}
QUESTION = "v1:unknown_outcome:t1"
UNKNOWN = "The outcome of this call is unknown"


class Desk:
    """A run whose owner died while `pay` ran; `look` beside it had finished."""

    def __init__(self, policy: OnUnknownOutcome) -> None:
        self.ran: list[str] = []

        @tool(on_unknown_outcome=policy)
        async def pay(context: ToolContext) -> str:
            self.ran.append(f"pay {context.attempt} {context.effect_key}")
            return "paid"

        @tool
        async def look() -> str:
            self.ran.append("look")
            return "seen"

        self.agent = Agent(ScriptedModel(["Done."]), tools=[pay, look], callback_handler=None)
        message: Any = {"role": "assistant", "content": [{"toolUse": PAY}, {"toolUse": LOOK}]}
        seen: Any = {"toolUseId": "t2", "status": "success", "content": [{"text": "seen"}]}
        self.log: list[Entry] = []
        self.add(
            RunSubmitted(at=0, agent="agent", prompt="go"),
            RunClaimed(at=0, worker="w1"),
            MessageAdded(at=0, origin="prompt", message={"role": "user", "content": [{"text": "go"}]}),
            CycleStarted(at=0, cycle=1),
            ModelStarted(at=0),
            MessageAdded(at=0, origin="model", stop_reason="tool_use", message=message),
            ToolStarted(at=0, index=0, tool_use=PAY, effect_key="r/t1"),
            ToolStarted(at=0, index=1, tool_use=LOOK, effect_key="r/t2"),
            ToolFinished(at=0, index=1, name="look", result=seen),
        )

    def add(self, *records: Record) -> None:
        self.log += [Entry(seq, 1, record) for seq, record in enumerate(records, len(self.log) + 1)]

    async def own(self, *responses: Any, upto: type[Record] | None = None) -> list[Record]:
        """Take the run over, with these responses to the question in the inbox; the records written."""
        self.add(RunClaimed(at=0, worker="next"))
        control = Control()
        control.deliver(Signal(f"s{self.log[-1].seq}", "respond", {QUESTION: response}) for response in responses)
        loop = Loop(self.agent.spec, run_id="r", state=fold(self.log), head=len(self.log), control=control)
        written: list[Record] = []
        async with aclosing(loop.records()) as items:
            async for item in items:
                if isinstance(item, Flush):
                    continue
                record = record_of(item)
                self.add(record)
                written.append(record)
                if upto is not None and isinstance(record, upto):
                    break
        return written

    def paid(self) -> tuple[str, list[dict[str, Any]]]:
        (record,) = [e.record for e in self.log if isinstance(e.record, ToolFinished) and e.record.name == "pay"]
        return record.result["status"], record.result["content"]


async def test_retry_runs_it_again_under_the_same_key_and_tells_the_body() -> None:
    desk = Desk("retry")
    await desk.own()
    assert desk.ran == ["pay 2 r/t1"]


async def test_fail_tells_the_model_and_runs_nothing() -> None:
    desk = Desk("fail")
    await desk.own()
    assert desk.ran == []
    status, content = desk.paid()
    assert status == "error"
    assert content[0]["text"].startswith(UNKNOWN)


async def test_ask_pauses_the_run_with_a_question_and_runs_nothing() -> None:
    desk = Desk("ask")
    written = await desk.own()
    asked, paused = written
    assert isinstance(asked, ToolInterrupted)
    assert isinstance(paused, RunPaused)
    assert asked.interrupts == paused.interrupts
    (question,) = paused.interrupts
    assert (question["id"], question["name"], question["response"]) == (QUESTION, "unknown_outcome", None)
    assert '"retry"' in question["reason"]
    assert desk.ran == []


@pytest.mark.parametrize(
    ("response", "ran", "status", "content"),
    [
        ("retry", ["pay 2 r/t1"], "success", [{"text": "paid"}]),
        ("fail", [], "error", None),
        ({"result": "5 euros went"}, [], "success", [{"text": "5 euros went"}]),
        ({"result": [{"json": {"euros": 5}}]}, [], "success", [{"json": {"euros": 5}}]),
    ],
)
async def test_the_response_is_carried_out(response: Any, ran: list[str], status: str, content: Any) -> None:
    desk = Desk("ask")
    await desk.own()
    written = await desk.own(response)
    assert any(isinstance(record, RunResumed) for record in written)
    assert desk.ran == ran
    assert desk.paid()[0] == status
    if content is None:
        assert desk.paid()[1][0]["text"].startswith(UNKNOWN)
    else:
        assert desk.paid()[1] == content
    assert desk.log[-1].record.type == "run.completed"


@pytest.mark.parametrize("response", ["yes", 1, {"results": 1}, [], ""])
async def test_any_other_response_asks_again(response: Any) -> None:
    desk = Desk("ask")
    await desk.own()
    written = await desk.own(response)
    assert isinstance(written[-1], RunPaused)
    assert [interrupt["id"] for interrupt in written[-1].interrupts] == [QUESTION]
    await desk.own("retry")
    assert desk.ran == ["pay 2 r/t1"]


async def test_a_worker_that_dies_while_it_runs_the_call_again_leaves_the_question_to_be_asked_again() -> None:
    desk = Desk("ask")
    await desk.own()
    await desk.own("retry", upto=ToolStarted)
    assert desk.ran == []
    written = await desk.own()
    assert [type(record) for record in written] == [ToolInterrupted, RunPaused]


async def test_a_call_that_stopped_to_ask_something_itself_has_no_unknown_outcome() -> None:
    desk = Desk("ask")
    asked = [{"id": "v1:tool_call:t1:x", "name": "x", "reason": None, "response": None}]
    desk.add(ToolInterrupted(at=0, index=0, tool_use=PAY, interrupts=asked))
    written = await desk.own()
    assert [type(record) for record in written] == [RunPaused]
