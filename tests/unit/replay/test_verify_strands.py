"""Verification of the runs of Strands agents, graphs and swarms: what changed is named at its record."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import strands
from pydantic import BaseModel
from strands.hooks import BeforeToolCallEvent
from strands.multiagent import GraphBuilder

from playhead.runtime.core.records import Entry, StepFinished
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.replay import verify
from tests.support.guest_owners import Owners
from tests.support.strands_agents import AGENTS, MANY, WORLD, World, counting, fails, said, slow
from tests.unit.host import test_killed_anywhere as everything

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@cache
def guest(name: str) -> StrandsGuest:
    """An agent of the scenarios."""
    World()
    return StrandsGuest(lambda: {**AGENTS, **MANY}[name](WORLD[-1]), name="agent")


async def owned(one: StrandsGuest) -> list[Entry]:
    """The log of a run of it."""
    run, _ = Owners(one), World()
    await run.to_the_end()
    return run.log


@pytest.mark.parametrize("name", [*AGENTS, *MANY])
async def test_an_unchanged_agent_finds_nothing_and_does_nothing(name: str) -> None:
    log, world = await owned(guest(name)), World()
    found = await verify(log, guest(name))
    assert found.same, found.text
    assert not world.effects
    assert not world.asked


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*AGENTS, *MANY])
async def test_nothing_differs_in_a_run_that_was_taken_over_anywhere(name: str) -> None:
    whole = await owned(guest(name))
    for cut in range(2, len(whole), 11 if name in MANY else 3):
        run, world = Owners(guest(name), whole[:cut]), World()
        world.throttled = sum(isinstance(one, StepFinished) and one.error is not None for one in run.records)
        found = await verify(run.log, guest(name))
        assert found.same, f"cut after record {cut}: {found.text}"
        await run.to_the_end()
        found = await verify(run.log, guest(name))
        assert found.same, f"taken over after record {cut}: {found.text}"


class Cancelled(Owners):
    """Cancelled when it has so many records."""

    at: int = 0

    def append(self, record: Any) -> None:
        super().append(record)
        if len(self.log) == self.at:
            self.control.deliver([Signal("cancel", "cancel")])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*AGENTS, *MANY, "function"])
async def test_nothing_differs_in_a_run_that_was_cancelled_anywhere(name: str) -> None:
    one = everything.owners(everything.World()).guest if name == "function" else guest(name)
    run, _ = Owners(one), World()
    await run.to_the_end()
    for at in range(3, len(run.log), 11 if name in MANY else 3):
        run, _ = Cancelled(one), World()
        run.at = at
        await run.to_the_end()
        found = await verify(run.log, one)
        assert found.same, f"cancelled after record {at}: {found.text}"


@pytest.mark.parametrize("at", [23, 28, 30])
async def test_what_follows_a_cancel_of_nodes_side_by_side_is_compared(at: int) -> None:
    run, _ = Cancelled(guest("graph")), World()
    run.at = at
    await run.to_the_end()
    assert run.end.type == "run.cancelled"
    found = await verify(run.log, guest("graph"))
    assert found.same, found.text
    assert not found.notes


def calling(*calls: tuple[str, str, dict[str, Any]], **options: Any) -> StrandsGuest:
    """An agent that calls two tools."""
    first = said("Let me see.", calls=calls or [("slow", "a", {"n": 1}), ("counting", "b", {"n": 2})])

    def shop() -> strands.Agent:
        given = {"system_prompt": "Be brief.", "tools": [slow, counting], **options}
        return WORLD[-1].agent(first, said("Done."), **given)

    World()
    return StrandsGuest(shop, name="shop")


@strands.tool(name="slow")
async def slower(n: int) -> str:
    """Wait for a longer time."""
    return "slower"


@strands.tool(name="slow")
async def wider(n: int, much: int = 1) -> str:
    """Wait."""
    return "wider"


def hook(change: Callable[[BeforeToolCallEvent], object]) -> dict[str, Any]:
    """A hook that decides about the first call."""

    def decides(event: BeforeToolCallEvent) -> None:
        if event.tool_use["toolUseId"] == "a":
            change(event)

    return {"hooks": [decides]}


class Answer(BaseModel):
    """A structured output."""

    total: int


OTHERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another prompt": ({"system_prompt": "Be kind."}, "model.started", "system_prompt"),
    "one more tool": ({"tools": [slow, counting, fails]}, "model.started", "tools"),
    "a tool less": ({"tools": [slow]}, "model.started", "tools"),
    "another order of the tools": ({"tools": [counting, slow]}, "model.started", "tool_order"),
    "another description": ({"tools": [slower, counting]}, "model.started", "tool_description"),
    "another schema": ({"tools": [wider, counting]}, "model.started", "tool_schema"),
    "messages of its own": ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "model.started", "history"),
    "a hook that cancels": (hook(lambda event: setattr(event, "cancel_tool", "no")), "tool.started", "hook"),
    "a hook that asks": (hook(lambda event: event.interrupt("sure?")), "tool.started", "hook"),
    "a hook that changes": (hook(lambda event: event.tool_use["input"].update(n=2)), "tool.started", "tool_call"),
    "a structured output": ({"structured_output_model": Answer}, "model.started", "tools"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_a_change_of_an_agent_is_named_at_its_record(name: str) -> None:
    options, record, kind = OTHERS[name]
    log = await owned(calling())
    found = (await verify(log, calling(**options))).difference
    assert found is not None
    assert (found.record, found.kind) == (record, kind), found.text
    assert found.seq == next(one.seq for one in log if one.record.type == record), found.text


def within(prompt: str) -> StrandsGuest:
    """An agent whose tool is an agent with this prompt."""

    def outer() -> strands.Agent:
        world = WORLD[-1]
        inner = world.agent(said("So it is."), name="inner", description="inner", system_prompt=prompt)
        return world.agent(said(calls=[("inner", "a", {"input": "is it?"})]), said("Yes."), tools=[inner])

    World()
    return StrandsGuest(outer, name="outer")


def side_by_side(prompt: str) -> StrandsGuest:
    """A graph of two nodes, of which the second has this prompt."""

    def pair() -> Any:
        builder = GraphBuilder()
        for name, told in (("left", "Be brief."), ("right", prompt)):
            builder.add_node(WORLD[-1].agent(said(f"{name}."), name=name, system_prompt=told), name)
        return builder.set_max_node_executions(4).build()

    World()
    return StrandsGuest(pair, name="pair")


@pytest.mark.parametrize(("make", "key"), [(within, "/a/model:1"), (side_by_side, "/right/model:1")])
async def test_a_change_within_an_agent_or_a_graph_is_named_at_the_call_of_its_model(
    make: Callable[[str], StrandsGuest], key: str
) -> None:
    log = await owned(make("Be brief."))
    assert (await verify(log, make("Be brief."))).same
    found = (await verify(log, make("Be kind."))).difference
    assert found is not None
    record = log[found.seq - 1].record
    assert isinstance(record, StepFinished)
    assert record.key == key
    assert [(one.kind, one.recorded, one.now) for one in found.changes] == [("system_prompt", "Be brief.", "Be kind.")]
