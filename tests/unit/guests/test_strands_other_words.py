"""A model that is asked again says something else: what an agent within an agent, or a node of a graph, has told stands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import strands
from strands.multiagent import GraphBuilder
from strands.multiagent.graph import Graph

from playhead.runtime.core.records import Entry
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.replay import verify
from tests.support.guest_owners import Owners
from tests.support.strands_agents import Script, World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ATTEMPT = [1]


class OtherWords(Script):
    """Says in each execution something else."""

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Its messages, in which each text has the number of the execution."""
        async for chunk in super().stream(messages, *args, **kwargs):
            delta = chunk.get("contentBlockDelta", {}).get("delta", {})
            if "text" in delta:
                delta["text"] = f"{ATTEMPT[0]} {delta['text']}"
            yield chunk


@strands.tool
async def telling(n: int) -> AsyncGenerator[Any, None]:
    """Tell how far it is."""
    for number in range(n):
        yield f"{ATTEMPT[0]}: {number}"
    yield "told"


def inner(world: World, name: str) -> strands.Agent:
    """Two tools that tell, side by side, and a text."""
    calls = [("telling", use_id, {"n": number}) for use_id, number in (("x", 1), ("y", 2))]
    agent = world.agent(name=name, description=name, tools=[telling])
    agent.model = OtherWords(world, [said("Sub ", "thinks.", calls=calls), said("Sub ", "says ", "so.")])
    return agent


def caller(world: World) -> strands.Agent:
    """An agent with two others as tools."""
    calls = [(name, name, {"input": name}) for name in ("one", "two")]
    return world.agent(said(calls=calls), said("Done."), tools=[inner(world, name) for name in ("one", "two")])


def delegating(world: World) -> strands.Agent:
    """An agent that gives its turn to another."""
    tool = inner(world, "one").as_tool(delegate=True)
    return world.agent(said(calls=[("one", "one", {"input": "x"})]), said("Done."), tools=[tool])


def lonely_graph(world: World) -> Graph:
    """A graph of one node."""
    builder = GraphBuilder()
    builder.add_node(inner(world, "one"), "one")
    return builder.set_max_node_executions(2).build()


async def played(guest: StrandsGuest, log: list[Entry], *, attempt: int) -> Owners:
    """The run with these records, by its next owners."""
    ATTEMPT[0] = attempt
    run = Owners(guest, list(log))
    await run.to_the_end()
    return run


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [caller, delegating, lonely_graph])
async def test_an_answer_within_the_agent_that_was_cut_off_may_be_another_one_the_next_time(
    make: Callable[[World], Any],
) -> None:
    guest = StrandsGuest(lambda: make(World()), name="agent")
    whole = await played(guest, [], attempt=1)
    assert whole.end.type == "run.completed"
    for cut in range(5, len(whole.log), 6):
        run = await played(guest, whole.log[:cut], attempt=2)
        where = f"cut after record {cut}, {whole.log[cut - 1].record.type}"
        assert run.end.type == "run.completed", f"{where}: {run.end}"
        told = [_text(event) for event in run.events()]
        texts = [text for text in told if text]
        for name in ("one", "two"):
            mine = "".join(text for who, text in texts if who == name)
            ways = [f"{a} Sub {a} thinks." for a in (1, 2)], [f"{b} Sub {b} says {b} so." for b in (1, 2)]
            if mine:
                assert any(first in mine for first in ways[0]), f"{where}: {mine}"
                assert any(last in mine for last in ways[1]), f"{where}: {mine}"


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [caller, delegating, lonely_graph])
async def test_what_two_owners_told_in_their_own_words_is_taken_over_and_verified(make: Callable[[World], Any]) -> None:
    guest = StrandsGuest(lambda: make(World()), name="agent")
    whole = await played(guest, [], attempt=1)
    for cut in range(5, len(whole.log), 15):
        second = await played(guest, whole.log[:cut], attempt=2)
        ATTEMPT[0] = 3
        found = await verify(second.log, guest)
        assert found.same, f"cut after record {cut}: {found.text}"
        for again in [*range(cut + 2, len(second.log) - 1, 47), len(second.log) - 1]:
            third = await played(guest, second.log[:again], attempt=3)
            where = f"cut after record {cut}, then after {again}"
            assert third.end.type == "run.completed", f"{where}: {third.end}"
            if again == len(second.log) - 1:
                assert third.end.result["message"]["content"] == second.end.result["message"]["content"], where


def _text(event: Any) -> tuple[str, str] | None:
    """Which inner agent an event is of, and the piece of text in it."""
    if "tool_stream_event" in event:
        told = event["tool_stream_event"]
        return (told["tool_use"]["name"], told["data"]["data"]) if "data" in told["data"] else None
    if "node_id" in event:
        return (event["node_id"], event["event"]["data"]) if "data" in event.get("event", {}) else None
    return ("one", event["data"]) if "data" in event else None
