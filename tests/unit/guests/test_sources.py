"""Functions that make the agents of guests: what they hold open, and how long they may be awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.function import FunctionModel
from strands import Agent as StrandsAgent

from playhead.runtime.core.errors import AgentFactoryError
from playhead.runtime.guests import sources
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.guests.strands import StrandsGuest
from tests.support.guest_owners import Owners
from tests.support.strands_agents import World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def fails(*given: Any) -> Any:
    """A model that cannot be reached."""
    raise ConnectionError("no network")


async def test_a_context_manager_that_keeps_an_error_does_not_let_a_run_complete_that_failed() -> None:
    seen: list[str] = []

    @contextmanager
    def make() -> Generator[Any]:
        try:
            yield PydanticAgent(FunctionModel(stream_function=fails))
        except ConnectionError as error:
            seen.append(str(error))

    run = Owners(PydanticAIGuest(make, name="agent"))
    await run.to_the_end()
    assert (run.end.type, run.end.message, seen) == ("run.failed", "no network", ["no network"])


async def test_an_error_in_closing_is_logged_and_the_end_of_the_run_stands(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[StrandsAgent]:
        yield World().agent(said("Hello."))
        raise ConnectionError("the server has gone")

    run = Owners(StrandsGuest(make, name="agent"))
    with caplog.at_level(logging.WARNING, logger=sources.__name__):
        caplog.clear()  # of what its first call, at the start of a worker, logged
        await run.to_the_end()
    assert run.end.type == "run.completed", run.end
    assert [record.getMessage() for record in caplog.records] == [
        "make raised in closing what its agent needed; the agent had ended"
    ]
    assert "the server has gone" in caplog.text


async def test_an_error_in_closing_after_a_failure_does_not_hide_that_it_failed() -> None:
    @contextmanager
    def make() -> Generator[Any]:
        try:
            yield PydanticAgent(FunctionModel(stream_function=fails))
        except ConnectionError as error:
            raise RuntimeError(f"closing after: {error}") from error

    run = Owners(PydanticAIGuest(make, name="agent"))
    await run.to_the_end()
    assert (run.end.type, run.end.message) == ("run.failed", "closing after: no network")


@pytest.mark.parametrize("holds_open", [False, True])
def test_a_function_that_is_awaited_for_too_long_is_refused(holds_open: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIMIT_S", 0.01)

    async def waits() -> StrandsAgent:
        await asyncio.Event().wait()
        raise AssertionError("it is never set")

    @asynccontextmanager
    async def waits_to_open() -> AsyncGenerator[StrandsAgent]:
        yield await waits()

    with pytest.raises(AgentFactoryError, match=r"waits\w* did not give an agent within 0.01 s"):
        StrandsGuest(waits_to_open if holds_open else waits, name="agent")
