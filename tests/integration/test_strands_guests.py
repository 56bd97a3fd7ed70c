"""Whole Strands agents in a fleet: to a client they are agents like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
import strands
from pydantic import BaseModel
from strands.hooks import AfterToolCallEvent
from strands.multiagent.graph import Graph

from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.records import ModelChunk
from playhead.runtime.guests.strands import StrandsGuest, replaying
from playhead.workers.checkpoints import Checkpoint, Checkpoints
from tests.support.strands_agents import Script, World, graph, said

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def asking(world: World) -> strands.Agent:
    """A tool asks, in each turn of a session."""
    calls = [said("Let me.", calls=[("asks", use_id, {"what": use_id})]) for use_id in "ab"]
    return world.agent(calls[0], said("First."), calls[1], said("Second."))


async def test_a_client_streams_answers_and_talks_on(fleet: Fleet) -> None:
    world, seen = World(), list[Any]()

    def make_agent() -> strands.Agent:
        return asking(world)

    async with fleet.worker(make_agent), fleet.client() as client:
        for turn, answer in (("a", "First."), ("b", "Second.")):
            run = await client.start("make_agent", "Go", session_id="ada", invocation_state={"user": "ada"})
            seen = [event async for event in run.stream_async(on_pause="end")]
            assert "".join(event["data"] for event in seen if "data" in event) == "Let me."
            assert any(event.get("user") == "ada" for event in seen if "data" in event)
            (interrupt,) = seen[-1]["result"].interrupts
            assert interrupt.reason == {"what": turn}
            await run.respond({interrupt.id: "yes"}, invocation_state={"user": "bob"})
            result = await run.result()
            assert str(result) == f"{answer}\n"
            after = [event async for event in run.stream_async(after=seen[-1].cursor)]
            assert {event["user"] for event in after if "data" in event or "init_event_loop" in event} == {"bob"}
            assert result.metrics.tool_metrics == {"asks": {"calls": 1, "ok": 1, "errors": 0}}
            assert result.metrics.cycle_count == 3, "as Strands counts: the cycle in which it paused is there twice"
    assert world.effects == {"asks": 2}


async def test_an_agent_object_runs_one_run_at_a_time_each_from_its_beginning(fleet: Fleet) -> None:
    agent = World().agent(said(calls=[("remember", "a", {"what": "x"})]), said("Done."), name="clerk")
    async with fleet.worker(agent), fleet.client() as client:
        runs = [await client.start("clerk", f"Go {number}") for number in range(3)]
        for run in runs:
            result = await run.result()
            assert str(result) == "Done.\n"
            (told,) = [one async for one in run.stream_async() if "toolResult" in str(one.get("message"))]
            assert told["message"]["content"][0]["toolResult"]["content"] == [{"text": "x"}], "its state is its own"


async def test_a_graph_is_an_agent_whose_events_are_those_of_its_nodes(fleet: Fleet) -> None:
    world = World()

    def make_graph() -> Graph:
        return graph(world)

    async with fleet.worker(make_graph), fleet.client() as client:
        run = await client.start("make_graph", "Go")
        events = [event async for event in run.stream_async()]
        ended = [event["node_id"] for event in events if event.get("type") == "multiagent_node_stop"]
        assert (ended[0], sorted(ended[1:3]), ended[3]) == ("root", ["left", "right"], "join")
        assert events[-1]["result"].message["content"][0]["text"].endswith("join: All joined.")
        refused = await client.start("make_graph", "Go", limits={"turns": 1})
        with pytest.raises(RunFailedError, match="does not allow limits="):
            await refused.result()
    assert world.effects == {"slow": 1, "counting": 1}


class Endless(Script):
    """Says the same again and again."""

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """An answer without an end."""
        for chunk in said("Half")[:2]:
            yield chunk
        while True:
            await asyncio.sleep(0.002)
            yield {"contentBlockDelta": {"delta": {"text": "Half"}}}


async def test_a_cancel_ends_the_agent_as_strands_does(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    agent = world.agent(name="clerk")
    agent.model = Endless(world, [])
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("clerk", "Go")
        async for entry in run.records():
            if isinstance(entry.record, ModelChunk) and "Half" in str(entry.record.chunk):
                await run.cancel()
                break
        result = await run.result()
        assert result.stop_reason == "cancelled"
        assert (await run.info()).state == "cancelled"
    assert "does not end" not in caplog.text, "it ended by itself"


async def test_an_agent_whose_run_is_past_its_deadline_stops(fleet: Fleet) -> None:
    world, at = World(), Checkpoints()
    agent = world.agent(name="clerk")
    agent.model = Endless(world, [])
    async with fleet.worker(agent, visit=at, lease_ms=2000), fleet.client() as client:
        run = await client.start("clerk", "Go", deadline=3600)
        async for event in run.stream_async():
            if "data" in event:
                break
        await fleet.ask("ZADD", client.log.keys.deadlines, "XX", 1, run.id)  # an hour passes
        with pytest.raises(RunFailedError, match="the deadline that was set"):
            await run.result()
        await at.reached(Checkpoint.LOST, run.id)
        agent.model = Script(world, [said("Free again.")])
        assert str(await client.agent("clerk").invoke_async("Go")) == "Free again.\n", "the object serves the next run"


class Person(BaseModel):
    """A structured output of a call."""

    name: str
    age: int | None = None


async def test_limits_and_a_structured_output_of_a_call_hold(fleet: Fleet) -> None:
    calls = [said(calls=[("slow", use_id, {"n": 1})]) for use_id in "abc"]
    wrong, right = (said(calls=[("Person", use_id, given)]) for use_id, given in (("d", {}), ("e", {"name": "Ada"})))

    def teller() -> strands.Agent:
        return World().agent(said("It is Ada."), wrong, right)

    async with fleet.worker(World().agent(*calls, name="clerk"), teller), fleet.client() as client:
        run = await client.start("clerk", "Go", limits={"turns": 2})
        assert (await run.result()).stop_reason == "limit_turns"
        asked = await client.start("teller", "Who?", structured_output_model=Person)
        assert (await asked.result()).structured_output == Person(name="Ada")
        asked = await client.start("teller", "Who?", structured_output_model=Person.model_json_schema())
        assert (await asked.result()).structured_output == {"name": "Ada"}
        results = [str(event) for event in [one async for one in asked.stream_async()] if "toolResult" in str(event)]
        assert "Field 'name': Field required" in results[0], "it is checked by its schema"


async def test_a_hook_and_a_callback_handler_are_told_what_has_happened_before(fleet: Fleet) -> None:
    told: list[tuple[str, bool]] = []
    printed: list[str] = []

    def hook(event: AfterToolCallEvent) -> None:
        told.append((event.tool_use["toolUseId"], replaying()))

    def handler(**event: Any) -> None:
        if "data" in event:
            printed.append(event["data"])

    world = World()

    def make_agent() -> strands.Agent:
        first = said("One.", calls=[("slow", "a", {"n": 1})])
        second = said("Two.", calls=[("asks", "b", {"what": "x"})])
        return world.agent(first, second, said("Three."), hooks=[hook], callback_handler=handler)

    async with fleet.worker(StrandsGuest(make_agent, name="clerk")), fleet.client() as client:
        run = await client.start("clerk", "Go")
        interrupts = (await run.result(on_pause="end")).interrupts
        await run.respond({one.id: "yes" for one in interrupts or ()})
        await run.result()
    assert told == [("a", False), ("a", True), ("b", False)]
    assert printed == ["One.", "Two.", "Three."]
