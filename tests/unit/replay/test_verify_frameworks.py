"""Verification of the runs of other frameworks' agents: unchanged code finds nothing, a changed prompt is named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.replay import EntriesRecording, Verification, verify
from tests.support.guest_owners import RUN, Owners
from tests.support.langgraph_agents import WORLD
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
    assert not verified.notes


async def test_what_follows_a_question_that_a_tool_of_langgraph_asked_in_its_body_is_compared() -> None:
    run = of_langgraph.owners("asks")
    await run.to_the_end()
    effects = dict(WORLD[-1].effects)
    verified = await found(run, run.guest)
    assert (verified.same, verified.notes) == (True, ())
    assert dict(WORLD[-1].effects) == effects
    last = run.log[-1]
    run.log[-1] = last._replace(
        record=run.end.model_copy(update={"result": {**run.end.result, "stop_reason": "other"}})
    )
    differs = (await found(run, run.guest)).difference
    assert differs is not None
    assert (differs.seq, differs.kind) == (last.seq, "result")


def agent(instructions: str) -> PydanticAIGuest:
    return PydanticAIGuest(lambda: Agent(TestModel(), instructions=instructions), name="agent")


async def test_other_instructions_are_found_where_the_model_was_asked() -> None:
    run = Owners(agent("Be brief."))
    await run.to_the_end()
    differs = (await found(run, agent("Be kind."))).difference
    assert differs is not None
    assert (differs.record, differs.kind) == ("model.started", "request")
