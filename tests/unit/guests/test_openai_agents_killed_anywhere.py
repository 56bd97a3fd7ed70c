"""Agents of the OpenAI Agents SDK, killed after each record of their runs: the next owner brings each to the same end."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

import agents
import pytest

from playhead.runtime.core.records import Entry, ModelRetried
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from tests.support.guest_owners import Owners, cuts
from tests.support.openai_agents import AGENTS, World

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_tracing() -> None:
    agents.set_tracing_disabled(True)


@cache
def guest(name: str) -> OpenAIAgentsGuest:
    """That agent, made for each owner."""
    World()
    return OpenAIAgentsGuest(AGENTS[name], name="agent")


def owners(name: str, log: list[Entry] | None = None) -> Owners:
    return Owners(guest(name), list(log or []))


def shown(run: Owners) -> list[Any]:
    """What a reader sees, without what differs in each record."""
    return [json.loads(json.dumps(event, default=str)) for event in run.events()]


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_runs_as_it_is(name: str) -> None:
    run, world = owners(name), World()
    await run.to_the_end()
    assert (run.end.type == "run.failed") == (name == "tripwire"), run.end
    assert run.of(ModelRetried) == []
    assert world.effects


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", AGENTS)
async def test_cut_after_any_record_it_comes_to_the_same_end(name: str) -> None:
    whole, first = owners(name), World()
    await whole.to_the_end()
    wanted = shown(whole)
    for run, where in cuts(whole, partial(owners, name), first=2):
        world, done, paid = World(), run.finished(), run.answered()
        await run.to_the_end()
        assert shown(run) == wanted, where
        assert run.finished() == whole.finished(), where
        if name != "tripwire":
            assert sum(world.asked.values()) + paid == sum(first.asked.values()), f"{where}: an answer was paid twice"
        for tool, count in done.items():
            assert world.effects[tool] + count <= first.effects[tool], f"{where}: a finished tool ran again"
