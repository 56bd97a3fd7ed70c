"""A run of a fleet is cancelled with a message, at once or after its current tools, and its log verifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Run
from playhead.runtime import Agent, NullConversationManager, RecordTooLargeError, tool
from playhead.runtime.core.records import SignalReceived
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Working:
    """An agent whose model calls its tool again and again; the first call waits."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.go = anyio.Event()

    def agent(self) -> Agent:
        @tool
        async def work() -> str:
            """Work."""
            self.began.set()
            await self.go.wait()
            return "worked"

        model = ScriptedModel([tool_call("work", {}, "t1")], repeat=True)
        manager = NullConversationManager()
        return Agent(model, name="worker", tools=[work], callback_handler=None, conversation_manager=manager)


async def texts(run: Run) -> list[Any]:
    """The content of the messages that the run added, and the record at its end."""
    records = [entry.record async for entry in run.records()]
    said = [dict(record)["message"]["content"] for record in records if record.type == "message.added"]
    return [*said, records[-1].type]


async def test_the_message_is_the_models_while_it_streams(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        remote = client.agent("agent", session_id="s")
        run = await client.start("agent", "Hi", session_id="s")
        await model.held.wait()
        await remote.cancel(message="Enough.")
        assert str(await run.result()) == "Enough.\n"
        assert (await run.info()).state == "cancelled"


async def test_after_the_current_tools_they_keep_their_results_and_the_log_verifies(fleet: Fleet) -> None:
    working = Working()
    async with fleet.worker(working.agent()), fleet.client() as client:
        run = await client.start("worker", "Go")
        await working.began.wait()
        assert await run.cancel(message="Enough.", after_current_tools=True, signal_id="one") == "running"
        working.go.set()
        result = await run.result()
        assert (result.stop_reason, str(result)) == ("cancelled", "Enough.\n")
        *_, results, said, end = await texts(run)
        assert results[0]["toolResult"]["content"] == [{"text": "worked"}]
        assert (said, end) == ([{"text": "Enough."}], "run.completed")
        received = [entry.record async for entry in run.records() if isinstance(entry.record, SignalReceived)]
        assert [one.body for one in received] == [{"message": "Enough.", "after_current_tools": True}]
        same = await verify(run, working.agent(), ignore=["model"])
        assert same.same, same.text


async def test_a_cancel_during_tools_adds_its_message_after_their_results(fleet: Fleet) -> None:
    working = Working()
    async with fleet.worker(working.agent()), fleet.client() as client:
        run = await client.start("worker", "Go")
        await working.began.wait()
        await run.cancel(message="Enough.")
        assert str(await run.result()) == "Enough.\n"
        *_, said, end = await texts(run)
        assert (said, end) == ([{"text": "Enough."}], "run.cancelled")
        same = await verify(run, working.agent(), ignore=["model"])
        assert same.same, same.text


async def test_a_queued_run_ends_at_once_with_the_message_and_one_that_is_too_long_is_refused(fleet: Fleet) -> None:
    async with fleet.client(max_record_bytes=2000) as client:
        run = await client.start("agent", "Hi")
        with pytest.raises(RecordTooLargeError, match="the message of the cancel"):
            await run.cancel(message="x" * 3000)
        assert await run.cancel(message="Enough.", after_current_tools=True) == "cancelled"
        assert str(await run.result()) == "Enough.\n"
