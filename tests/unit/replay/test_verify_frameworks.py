"""Verification of the runs of other frameworks' agents: unchanged code finds nothing, a changed prompt is named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.replay import EntriesRecording, Verification, verify
from tests.support.guest_owners import RUN, Owners
from tests.unit.guests import test_langgraph as of_langgraph
from tests.unit.guests import test_openai_agents_killed_anywhere as of_openai
from tests.unit.guests import test_pydantic_ai as of_pydantic

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ALL: list[tuple[Any, str]] = [
    *((of_pydantic, name) for name in of_pydantic.AGENTS),
    *((of_openai, name) for name in of_openai.AGENTS),
    *((of_langgraph, name) for name in of_langgraph.GRAPHS),
]


async def found(run: Owners, guest: Any) -> Verification:
    return await verify(EntriesRecording(run.log, run_id=RUN), guest)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("tests", "name"), ALL, ids=[f"{one.__name__.rpartition('_')[2]} {name}" for one, name in ALL])
async def test_an_unchanged_agent_of_any_framework_finds_nothing(tests: Any, name: str) -> None:
    run = tests.owners(name)
    await run.to_the_end()
    verified = await found(run, run.guest)
    assert verified.same, verified.text


def agent(instructions: str) -> PydanticAIGuest:
    return PydanticAIGuest(lambda: Agent(TestModel(), instructions=instructions), name="agent")


async def test_other_instructions_are_found_where_the_model_was_asked() -> None:
    run = Owners(agent("Be brief."))
    await run.to_the_end()
    differs = (await found(run, agent("Be kind."))).difference
    assert differs is not None
    assert (differs.record, differs.kind) == ("model.started", "request")
