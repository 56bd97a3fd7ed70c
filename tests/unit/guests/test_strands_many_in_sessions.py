"""A graph or a swarm in a session: the agents that get the prompt begin from the conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from strands.multiagent import GraphBuilder, Swarm
from strands.multiagent.graph import Graph
from strands.session import FileSessionManager

from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.replay import EntriesRecording, verify
from tests.support.guest_owners import RUN, Owners, cuts
from tests.support.strands_agents import Script, World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Tells(Script):
    """Says the first texts that it was shown, as far as they are of the conversation."""

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """One text."""
        heard = [block["text"][:9] for one in messages[:-1] for block in one["content"] if "text" in block]
        for chunk in said(f"heard {heard}"):
            yield chunk


def agent(world: World, name: str) -> Any:
    made = world.agent(name=name, description=name, tools=[])
    made.model = Tells(world, [])
    return made


def graph(world: World) -> Graph:
    """Two nodes, one after the other, of which the first is a graph of its own."""
    inner, builder = GraphBuilder(), GraphBuilder()
    inner.add_node(agent(world, "one"), "one")
    builder.add_node(inner.set_max_node_executions(2).build(), "first")
    builder.add_node(agent(world, "two"), "two")
    builder.add_edge("first", "two")
    return builder.set_max_node_executions(5).build()


def swarm(world: World) -> Swarm:
    """Two agents, of which the second gets the prompt."""
    one, two = agent(world, "one"), agent(world, "two")
    return Swarm([one, two], entry_point=two)


def turn(make: Callable[[World], Any], before: Owners | None) -> Owners:
    """A run in the session, after another one."""
    messages = [] if before is None else [*before.said.messages, *before.hosts[-1].state.added]
    run = Owners(StrandsGuest(lambda: make(World()), name="agent"), said=StoredMessages(messages=messages))
    run.log.clear()
    run.append(RunSubmitted(at=0, agent="agent", prompt=f"turn {len(messages)}", session="s"))
    return run


def heard(run: Owners) -> list[str]:
    """What the agents said, in the order of the log."""
    texts = [event["event"]["event"] for event in run.events() if "event" in event.get("event", {})]
    texts = [one.get("event", one) for one in texts]
    return [one["contentBlockDelta"]["delta"]["text"] for one in texts if "contentBlockDelta" in one]


@pytest.mark.parametrize(("make", "two"), [(graph, True), (swarm, False)])
async def test_the_agents_that_get_the_prompt_begin_from_the_conversation(
    make: Callable[[World], Any], two: bool
) -> None:
    first = turn(make, None)
    await first.to_the_end()
    assert str(heard(first)[0]) == "heard []"
    second = turn(make, first)
    await second.to_the_end()
    assert second.end.type == "run.completed"
    assert [one.get("role") for one in second.hosts[-1].state.added] == ["user", "assistant"]
    texts = [one.get("content", [])[0]["text"][:9] for one in second.said.messages]
    assert texts[0] == "turn 0"
    assert heard(second) == [f"heard {texts}", *(["heard []"] if two else [])]
    recording = EntriesRecording(second.log, session=second.said.messages, run_id=RUN)
    assert (await verify(recording, second.guest)).same


@pytest.mark.parametrize("make", [graph, swarm])
async def test_killed_anywhere_a_later_turn_comes_to_the_same_end(make: Callable[[World], Any]) -> None:
    first = turn(make, None)
    await first.to_the_end()
    whole = turn(make, first)
    await whole.to_the_end()

    def next_owners(log: list[Entry]) -> Owners:
        return replace(whole, log=log, hosts=[])

    for run, where in cuts(whole, next_owners, first=2):
        await run.to_the_end()
        assert run.end.result["message"] == whole.end.result["message"], where
        assert run.hosts[-1].state.added == whole.hosts[-1].state.added, where


def test_a_session_manager_of_a_graph_is_refused_with_what_takes_its_place(tmp_path: Path) -> None:
    manager: Any = FileSessionManager(session_id="s", storage_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"session manager.*session_id="):
        StrandsGuest(lambda: Swarm([agent(World(), "one")], session_manager=manager), name="agent")
