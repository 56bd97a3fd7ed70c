"""What reaches a run while a worker has it: responses, steers, cancels and deadlines, at the worst moments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import RunPaused, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.values import NewRun
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.models import chunks as c
from playhead.workers.checkpoints import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from playhead.client import Client, Run
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Asks:
    """An agent whose tool asks before it acts.

    Attributes:
        responses: What each body that went on was told.
    """

    def __init__(self) -> None:
        self.responses: list[str] = []

        @tool
        def act(context: ToolContext) -> str:
            """Act, if allowed."""
            response = context.interrupt("approval", reason="Really?")
            self.responses.append(response)
            return f"told {response}"

        def script(messages: Messages) -> Any:
            return "Done." if "toolResult" in str(messages) else tool_call("act", {}, "t1")

        self.agent = Agent(ScriptedModel([script], repeat=True), name="asks", tools=[act], callback_handler=None)


def echo(messages: Messages) -> str:
    """The last thing the user said."""
    return f"heard {messages[-1].get('content', [])[0]['text']}"


def echoes() -> Agent:
    return Agent(ScriptedModel([echo], repeat=True), name="echoes", callback_handler=None)


async def records(client: Client, run: Run) -> list[Any]:
    """The run's records, whose numbers have no hole."""
    entries = await client.log.read(run.id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.record for entry in entries]


async def types(client: Client, run: Run) -> list[str]:
    return [record.type for record in await records(client, run)]


async def open_id(client: Client, run: Run) -> str:
    """The id of the one interrupt that is open."""
    paused = [record for record in await records(client, run) if isinstance(record, RunPaused)]
    (interrupt,) = paused[-1].interrupts
    return interrupt["id"]


async def test_a_paused_run_is_held_by_no_worker_and_another_goes_on_with_the_response(fleet: Fleet) -> None:
    asking, answered, at = Asks(), Asks(), Checkpoints()
    async with fleet.client() as client:
        async with fleet.worker(asking.agent, visit=at) as first:
            run = await client.start("asks", "Go", session_id="ada")
            await at.reached(Checkpoint.PAUSED)
        statistics = first.statistics()
        assert (statistics.running, statistics.ended) == (0, {"paused": 1})
        info = await run.info()
        assert (info.state, info.worker, info.crashes) == ("paused", None, 0)
        response = Signal("one", "respond", {await open_id(client, run): "yes"})
        assert await client.log.signal(run.id, response) == "queued"
        async with fleet.worker(answered.agent):
            assert str(await run.result()) == "Done.\n"
        assert (asking.responses, answered.responses) == ([], ["yes"])
        info = await run.info()
        assert (info.state, info.epoch, info.crashes) == ("completed", 2, 0)
        order = [one for one in await types(client, run) if one.startswith(("run.", "tool.", "signal."))]
        assert order == [
            *("run.submitted", "run.claimed", "tool.started", "tool.interrupted", "run.paused"),
            *("run.claimed", "signal.received", "run.resumed", "tool.started", "tool.finished", "run.completed"),
        ]


async def test_a_run_that_got_a_signal_meanwhile_is_not_paused(fleet: Fleet) -> None:
    asks, at = Asks(), Checkpoints()
    async with fleet.client() as client, fleet.worker(asks.agent, visit=at):
        at.hold(Checkpoint.PAUSING)
        run = await client.start("asks", "Go")
        await at.reached(Checkpoint.PAUSING)
        await client.log.signal(run.id, Signal("one", "steer", "Hurry up"))
        at.go_on(Checkpoint.PAUSING)

        async def taken_in() -> bool:
            return "signal.received" in await types(client, run) and (await run.info()).state == "paused"

        await fleet.until(taken_in)
        assert await client.log.inbox(run.id) == []
        await client.log.signal(run.id, Signal("two", "respond", {await open_id(client, run): "yes"}))
        await run.result()
        assert asks.responses == ["yes"]


async def test_a_steer_that_comes_as_the_run_is_about_to_end_is_not_lost(fleet: Fleet) -> None:
    at = Checkpoints()
    async with fleet.client() as client, fleet.worker(echoes(), visit=at) as worker:
        at.hold(Checkpoint.FINISHING)
        run = await client.start("echoes", "one", session_id="ada")
        await at.reached(Checkpoint.FINISHING)
        for number, word in enumerate(["two", "three"]):
            assert await client.log.signal(run.id, Signal(f"s{number}", "steer", word)) == "running"
        at.go_on(Checkpoint.FINISHING)
        assert str(await run.result()) == "heard three\n"
        await fleet.ended(worker, completed=1)
        assert (await run.info()).epoch == 1
        assert (await types(client, run)).count("signal.received") == 2
        said = [message.get("content", [])[0]["text"] for message in await client.log.messages("ada")]
        assert said[:2] == ["one", "heard one"]
        assert said[-1] == "heard three"
        assert {"two", "three"} <= set(said)


async def test_a_cancel_that_comes_as_the_run_is_about_to_end_is_acknowledged_and_the_message_kept(
    fleet: Fleet,
) -> None:
    at = Checkpoints()
    async with fleet.client() as client, fleet.worker(echoes(), visit=at) as worker:
        at.hold(Checkpoint.FINISHING)
        run = await client.start("echoes", "one")
        await at.reached(Checkpoint.FINISHING)
        await run.cancel()
        at.go_on(Checkpoint.FINISHING)
        assert str(await run.result()) == "heard one\n"
        await fleet.ended(worker, completed=1)
        assert (await types(client, run))[-2:] == ["signal.received", "run.completed"]


async def test_an_owner_whose_run_is_past_its_deadline_stops(
    fleet: Fleet, held_model: Callable[..., HeldModel], caplog: pytest.LogCaptureFixture
) -> None:
    model, at = held_model(), Checkpoints()
    async with fleet.client() as client:
        async with fleet.worker(Agent(model, name="agent"), visit=at, lease_ms=2000) as worker:
            run_id = new_run_id()
            submitted = RunSubmitted(at=1, agent="agent", prompt=[{"role": "user", "content": [{"text": "Hi"}]}])
            await client.log.submit(NewRun(run_id, "agent", submitted, deadline_ms=3_600_000))
            await model.held.wait()
            await fleet.ask("ZADD", client.log.keys.deadlines, "XX", 1, run_id)  # an hour passes
            await model.closed.wait()
            await at.reached(Checkpoint.LOST, run_id)
        assert worker.statistics().ended == {"fenced": 1}
        info = await client.run(run_id).info()
        assert (info.state, info.epoch, info.crashes) == ("failed", 1, 0)
        assert "the run is failed (epoch 1)" in caplog.text


class Continuing:
    """A model that continues a partial message, and waits after the second of three words the first time."""

    continues_partial = True

    def __init__(self, *, hold: Callable[[], Any]) -> None:
        self.hold = hold
        self.calls: list[Messages] = []

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        """One message."""
        self.calls.append(messages)
        words = ["one", " two", " three"]
        said = messages[-1].get("content", [])[0]["text"] if messages[-1].get("role") == "assistant" else ""
        yield c.message_start()
        yield c.block_start()
        for word in words:
            if word.strip() in said:
                continue
            yield c.text_delta(word)
            if word == " two":
                await self.hold()
        yield c.block_stop()
        yield c.message_stop("end_turn")
        yield c.metadata(input_tokens=1, output_tokens=3, latency_ms=0)


async def test_a_message_that_was_cut_off_is_continued_where_agent_and_model_allow_it(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    held = held_model()

    async def hold() -> None:
        held.held.set()
        await held.go.wait()

    first, heir = Continuing(hold=hold), Continuing(hold=hold)
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        async with fleet.worker(Agent(first, name="agent", on_partial="continue")):
            await held.held.wait()
        held.go.set()
        async with fleet.worker(Agent(heir, name="agent", on_partial="continue")):
            events = [event async for event in run.stream_async()]
        assert [event["data"] for event in events if "data" in event] == ["one", " two", " three"]
        assert not any("retracted" in event for event in events)
        assert len(heir.calls) == 1
