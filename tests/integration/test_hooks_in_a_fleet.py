"""Hooks of an agent that workers run: a verdict survives its worker, a hook asks a client, and one that raises fails its run."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import (
    AfterInvocationEvent,
    Agent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    RunFailedError,
    tool,
)
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.records import ToolDecided, ToolFinished, ToolStarted
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.workers.checkpoints import Checkpoint, Checkpoints
from tests.support.fleet import LIMIT_S

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Guarded:
    """An agent, as one of several workers has it, whose hook changes each call.

    Attributes:
        asked: The calls that its hook was asked about.
    """

    def __init__(self, city: str, *, asks: bool = False) -> None:
        self.asked: list[Any] = []

        @tool
        async def weather(city: str) -> str:
            """Tell the weather."""
            return f"sun in {city}"

        def change(event: BeforeToolCallEvent) -> None:
            self.asked.append(event.tool_use["input"])
            event.tool_use["input"]["city"] = event.interrupt("city") if asks else city

        def script(messages: Messages) -> Any:
            return "Done." if "toolResult" in str(messages) else tool_call("weather", {"city": "Bonn"}, "t1")

        model = ScriptedModel([script], repeat=True)
        self.agent = Agent(model, name="guarded", tools=[weather], hooks=[change], callback_handler=None)


async def test_a_verdict_survives_the_worker_whose_hook_gave_it(fleet: Fleet) -> None:
    first, second, at = Guarded("Rome"), Guarded("Oslo"), Checkpoints()
    at.hold(Checkpoint.TOOLS_STORED)
    async with fleet.client() as client:
        async with fleet.worker(first.agent, visit=at):
            run = await client.start("guarded", "Go")
            await at.reached(Checkpoint.TOOLS_STORED)
        async with fleet.worker(second.agent):
            assert str(await run.result()) == "Done.\n"
        records = [entry.record async for entry in run.records()]
    assert [record.type for record in records].count("tool.decided") == 1
    assert [one.tool_use["input"] for one in records if isinstance(one, ToolStarted)] == [{"city": "Rome"}] * 2
    assert [one.result["content"] for one in records if isinstance(one, ToolFinished)] == [[{"text": "sun in Rome"}]]
    assert (first.asked, second.asked) == ([{"city": "Rome"}], []), "the same dict, which the hook changed"


async def test_a_hook_asks_a_client_and_another_worker_goes_on_with_the_response(fleet: Fleet) -> None:
    first, second, at = Guarded("", asks=True), Guarded("", asks=True), Checkpoints()
    async with fleet.client() as client:
        async with fleet.worker(first.agent, visit=at):
            run = await client.start("guarded", "Go")
            await at.reached(Checkpoint.PAUSED)
        [question] = (await run.result(on_pause="end")).interrupts or []
        assert question.name == "city"
        await run.respond({question.id: "Paris"})
        async with fleet.worker(second.agent):
            assert str(await run.result()) == "Done.\n"
        records = [entry.record async for entry in run.records()]
    [decided] = [one for one in records if isinstance(one, ToolDecided)]
    assert decided.change == {"toolUseId": "t1", "name": "weather", "input": {"city": "Paris"}}
    assert [len(first.asked), len(second.asked)] == [1, 1]


class RuleError(Exception):
    """What the hook of the next test raises."""


async def test_a_hook_that_raises_fails_its_run_and_the_worker_logs_its_line(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    def strict(event: BeforeModelCallEvent) -> None:
        if "Go" in str(event.agent.messages):
            raise RuleError("not on a Friday")

    def ended(event: AfterInvocationEvent) -> None:
        told.append(event.result)

    agent = Agent(ScriptedModel(["Fine."]), name="strict", hooks=[strict, ended], callback_handler=None)
    async with fleet.client() as client, fleet.worker(agent) as worker:
        run = await client.start("strict", "Go")
        with pytest.raises(RunFailedError, match="not on a Friday") as failed:
            await run.result()
        assert failed.value.error_type == "RuleError"
        assert str(await (await client.start("strict", "Hi")).result()) == "Fine.\n"
        await fleet.ended(worker, failed=1, completed=1)
    assert re.search(r"failed: RuleError: not on a Friday", caplog.text)
    assert 'raise RuleError("not on a Friday")' in caplog.text, "the traceback ends at the hook's own line"
    assert [one["stop_reason"] for one in told] == ["end_turn"]


async def test_a_worker_drains_although_a_hook_hangs_and_another_worker_goes_on(fleet: Fleet) -> None:
    begun, go = anyio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hangs(event: BeforeModelCallEvent) -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(LIMIT_S)

    def agent(*hooks: object) -> Agent:
        return Agent(ScriptedModel(["Fine."]), name="stuck", hooks=hooks, callback_handler=None)

    try:
        async with fleet.client() as client:
            async with fleet.worker(agent(hangs)):
                run = await client.start("stuck", "Go")
                await begun.wait()
            assert (await run.info()).state == "queued", "it was handed over, and nothing of it is lost"
            async with fleet.worker(agent()):
                assert str(await run.result()) == "Fine.\n"
    finally:
        go.set()
