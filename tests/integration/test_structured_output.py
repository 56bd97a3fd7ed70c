"""Structured output of a run in a fleet: the schema travels, the worker checks by it, and the caller gets an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread
from pydantic import BaseModel, field_validator

from playhead.runtime import Agent, RunConflictError, RunFailedError, StructuredOutputException, ToolContext, tool
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ADA: dict[str, Any] = {"name": "Ada", "age": 36}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Short(BaseModel):
    """A person with a validator, which only the client has."""

    name: str
    age: int

    @field_validator("name")
    @classmethod
    def _is_short(cls, name: str) -> str:
        if len(name) > 2:
            raise ValueError("too long")
        return name


@tool(name="Other")
def other() -> str:
    """A tool."""
    return ""


@tool
def ask(context: ToolContext) -> str:
    """Ask a human."""
    return context.interrupt("sure")


def agent(*scripts: Any, **options: Any) -> Agent:
    return Agent(ScriptedModel(scripts), name="asked", callback_handler=None, **options)


def call(tool_name: str, use: str = "t1", **changes: Any) -> Any:
    return tool_call(tool_name, {**ADA, **changes}, use)


async def test_the_caller_gets_an_instance_wherever_it_reads_the_run(fleet: Fleet) -> None:
    served = agent(call("Person", age="old"), call("Person", "t2"), call("Person", "t3"))
    async with fleet.worker(served), fleet.client() as client:
        remote = client.agent("asked")
        events = [event async for event in remote.stream_async("Who?", structured_output_model=Person)]
        [told] = [event["structured_output"] for event in events if "structured_output" in event]
        assert told == events[-1]["result"].structured_output == Person(**ADA)
        run_id = events[-1].run_id
        again = client.run(run_id, structured_output_model=Person)
        assert (await again.result()).structured_output == Person(**ADA)
        assert (await client.run(run_id).result()).structured_output == ADA, "without the class a dict"
        with pytest.raises(TypeError, match="structured_output_model must be a pydantic class or a JSON schema, not 5"):
            client.run(run_id, structured_output_model=5)  # pyright: ignore[reportArgumentType]
        assert await remote.structured_output_async(Person, "Who?") == Person(**ADA)


async def test_an_agents_own_model_applies_to_calls_from_anywhere(fleet: Fleet) -> None:
    corrected = agent(call("Short"), call("Short", "t2", name="Bo"), structured_output_model=Short)
    async with fleet.worker(corrected), fleet.client() as client:
        result = await client.invoke_async("asked", "Who?")
        assert result.structured_output == {"name": "Bo", "age": 36}, "the worker has the class, so its validators ran"


async def test_a_validator_that_only_the_client_has_raises_there_and_the_run_has_completed(fleet: Fleet) -> None:
    async with fleet.worker(agent(call("Short"))), fleet.client() as client:
        run = await client.start("asked", "Who?", structured_output_model=Short)
        with pytest.raises(
            StructuredOutputException, match=f"run {run.id} .*Short refuses: name: Value error, too long"
        ):
            await run.result()
        with pytest.raises(StructuredOutputException, match="too long"):
            [event async for event in run.stream_async()]
        assert (await client.run(run.id).result()).structured_output == ADA
        assert (await run.info()).state == "completed"


async def test_a_call_that_responds_gets_an_instance_of_the_class_that_was_asked_for(fleet: Fleet) -> None:
    both = [*tool_call("ask", {}, "t1")[:-2], *call("Person", "t2")[1:]]
    async with fleet.worker(agent(both, tools=[ask])), fleet.client() as client:
        remote = client.agent("asked")
        paused = await remote.invoke_async("Who?", structured_output_model=Person)
        answers = [{"interruptResponse": {"interruptId": one.id, "response": "yes"}} for one in paused.interrupts or ()]
        assert (await remote.invoke_async(answers)).structured_output == Person(**ADA)


async def test_so_does_one_that_is_not_async(fleet: Fleet) -> None:
    both = [*tool_call("ask", {}, "t1")[:-2], *call("Person", "t2")[1:]]
    async with fleet.worker(agent(both, tools=[ask])), fleet.client() as client:
        remote = client.agent("asked")
        paused = await to_thread.run_sync(lambda: remote("Who?", structured_output_model=Person))
        answers = [{"interruptResponse": {"interruptId": one.id, "response": "yes"}} for one in paused.interrupts or ()]
        result = await to_thread.run_sync(lambda: remote(answers))
        assert result.structured_output == Person(**ADA)


async def test_a_fork_is_read_with_the_class_of_its_parent(fleet: Fleet) -> None:
    async with fleet.worker(agent(call("Person"), call("Person", name="Eve"))), fleet.client() as client:
        run = await client.start("asked", "Who?", structured_output_model=Person)
        assert (await run.result()).structured_output == Person(**ADA)
        begun = [entry.seq async for entry in run.records() if entry.record.type == "cycle.started"]
        fork = await run.fork(at=begun[0])
        assert (await fork.result()).structured_output == Person(name="Eve", age=36)


async def test_a_run_without_it_fails_by_the_same_name_everywhere(fleet: Fleet) -> None:
    async with fleet.worker(agent("Ada.", "I said so.")), fleet.client() as client:
        with pytest.raises(StructuredOutputException, match="neither called the structured output tool nor returned"):
            await client.invoke_async("asked", "Who?", structured_output_model=Person)


async def test_a_name_that_the_worker_has_a_tool_of_fails_the_run_before_its_first_message(fleet: Fleet) -> None:
    async with fleet.worker(agent("Hi", tools=[other])), fleet.client() as client:
        run = await client.start("asked", "Who?", structured_output_model={"title": "Other", "type": "object"})
        with pytest.raises(RunFailedError, match="are both named 'Other'"):
            await run.result()
        assert [entry.record.type async for entry in run.records()] == ["run.submitted", "run.claimed", "run.failed"]


async def test_the_same_run_id_with_another_schema_is_another_run(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run_id = await client.new_run_id()
        for _ in range(2):
            await client.start("asked", "Who?", run_id=run_id, structured_output_model=Person)
        with pytest.raises(RunConflictError, match="structured_output"):
            await client.start("asked", "Who?", run_id=run_id, structured_output_model=Short)
