"""Structured output of an agent in this process: what the caller gets, and how the model is brought to give it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from playhead.runtime import Agent, StructuredOutputException, ToolContext, tool
from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import StructuredOutputProduced
from playhead.runtime.models import ScriptedModel, tool_call
from tests.support.recorded_runs import Plan, Play

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ADA = {"name": "Ada", "age": 36}
SCHEMA: dict[str, Any] = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int

    @field_validator("age")
    @classmethod
    def _is_alive(cls, age: int) -> int:
        if age > 150:
            raise ValueError("no human is that old")
        if age < 0:
            raise RuntimeError("the validator is broken")
        return age


def agent(*scripts: Any, **options: Any) -> Agent:
    return Agent(ScriptedModel(scripts), callback_handler=None, **options)


def person(use: str = "t1", **changes: Any) -> Any:
    return tool_call("Person", {**ADA, **changes}, use)


def results(messages: list[Message]) -> list[str]:
    """The texts of all tool results."""
    blocks = [block for message in messages for block in message.get("content", [])]
    return [block["toolResult"]["content"][0]["text"] for block in blocks if "toolResult" in block]


async def test_a_class_comes_back_as_its_instance_and_a_schema_as_a_dict() -> None:
    result = await agent(person()).invoke_async("Who?", structured_output_model=Person)
    assert result.structured_output == Person(name="Ada", age=36)
    assert result["structured_output"] == ADA
    assert result.stop_reason == "tool_use"
    assert (await agent(person()).invoke_async("Who?", structured_output_model=SCHEMA)).structured_output == ADA


async def test_an_agents_own_model_and_prompt_apply_unless_a_call_has_others() -> None:
    asked = agent("Ada.", person(), "Bob.", person(), structured_output_model=Person, structured_output_prompt="Now!")
    assert (await asked.invoke_async("Who?")).structured_output == Person(name="Ada", age=36)
    assert asked.messages[2].get("content") == [{"text": "Now!"}]
    await asked.invoke_async("Who?", structured_output_prompt="Please.")
    assert asked.messages[7].get("content") == [{"text": "Please."}]


def test_the_short_forms_return_the_instance() -> None:
    assert agent(person()).structured_output(Person, "Who?") == Person(name="Ada", age=36)


async def test_the_short_form_raises_if_the_run_ends_without_it() -> None:
    @tool
    def ask(context: ToolContext) -> str:
        """Ask."""
        return context.interrupt("sure")

    asking = agent(tool_call("ask", {}), person(), tools=[ask])
    with pytest.raises(StructuredOutputException, match="the run ended with 'interrupt' and gave no Person"):
        await asking.structured_output_async(Person, "Who?")


async def test_it_survives_a_question_to_a_human() -> None:
    @tool
    def ask(context: ToolContext) -> str:
        """Ask."""
        return context.interrupt("sure")

    both = [*tool_call("ask", {}, "t1")[:-2], *person("t2")[1:]]
    asking = agent(both, tools=[ask])
    first = await asking.invoke_async("Who?", structured_output_model=Person)
    answers = [{"interruptResponse": {"interruptId": one.id, "response": "yes"}} for one in first.interrupts or ()]
    result = await asking.invoke_async(answers, structured_output_model=Person)
    assert result.structured_output == Person(name="Ada", age=36)


async def test_the_model_corrects_what_a_validator_of_the_class_refuses() -> None:
    corrected = agent(person("t1", age=200), person("t2", age=-1), person("t3"))
    assert await corrected.structured_output_async(Person, "Who?") == Person(name="Ada", age=36)
    refused, broken, _ = results(corrected.messages)
    assert refused.endswith("- Field 'age': Value error, no human is that old")
    assert broken == "Unexpected error validating Person: the validator is broken"


async def test_a_text_that_a_validator_refuses_fails_the_run_with_its_words() -> None:
    for age, said in ((200, "no human is that old"), (-1, "the validator is broken")):
        prose = agent("Ada.", f'{{"name": "Ada", "age": {age}}}')
        with pytest.raises(StructuredOutputException, match=said):
            await prose.invoke_async("Who?", structured_output_model=Person)


async def test_input_that_cannot_be_read_is_not_validated() -> None:
    chunks = person("t1")
    chunks[2]["contentBlockDelta"]["delta"]["toolUse"]["input"] = "{{"
    corrected = agent(chunks, person("t2"))
    assert await corrected.structured_output_async(Person, "Who?") == Person(name="Ada", age=36)
    assert "its input cannot be read as one JSON object" in results(corrected.messages)[0]


def test_a_tool_of_the_same_name_is_refused_before_anything_runs() -> None:
    @tool(name="Person")
    def other() -> str:
        """Another."""
        return ""

    with pytest.raises(ValueError, match="the structured output and a tool of the agent are both named 'Person'"):
        agent(tools=[other], structured_output_model=Person)
    with pytest.raises(ValueError, match="both named 'Person'"):
        agent(tools=[other]).stream_async("Who?", structured_output_model=Person)


def test_what_is_not_an_object_is_refused_where_it_is_passed() -> None:
    for call in (agent, lambda **terms: agent("Hi").stream_async("Who?", **terms)):
        with pytest.raises(ValueError, match="must be an object"):
            call(structured_output_model={"type": "string"})
        with pytest.raises(ValueError, match="structured_output_prompt must not be empty"):
            call(structured_output_prompt=" ")


NOTE: dict[str, Any] = {"title": "note", "type": "object"}


def speak(messages: Messages) -> Any:
    """What the model says, by what it is told: no position, so that any owner's model goes on."""
    told = [block.get("text", "result") for block in messages[-1].get("content", [])]
    return {"go": tool_call("look", {}), "result": "Ada."}.get(told[0]) or tool_call("note", {"a": 1})


def planned(*steers: int) -> Play:
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    model = ScriptedModel([speak], repeat=True)
    served = Agent(model, name="planned", tools=[look], callback_handler=None, structured_output_model=NOTE)
    return Play(Plan(steers=frozenset(steers)), agent=served)


def produced(play: Play) -> list[Any]:
    return [record.value for record in play.records if isinstance(record, StructuredOutputProduced)]


@pytest.mark.exhaustive
async def test_any_owner_that_takes_over_brings_the_run_to_the_same_output() -> None:
    whole = planned()
    await whole.to_its_end()
    assert produced(whole) == [{"a": 1}]
    for cut in range(1, len(whole.records) - 2):
        play = planned()
        play.append(whole.records[0])
        await play.own(leaves=cut)
        while not play.ended:
            await play.own()
        assert produced(play) == [{"a": 1}], cut
        assert dict(play.records[-1])["result"]["structured_output"] == {"a": 1}, cut


async def test_a_steer_that_comes_before_the_end_asks_for_another_output() -> None:
    whole = planned()
    await whole.to_its_end()
    steered = planned(len(whole.records) - 1)
    await steered.to_its_end()
    assert produced(steered) == [{"a": 1}, {"a": 1}]
    messages = fold(steered.entries).messages
    assert [block["text"] for block in messages[-3].get("content", [])] == [f"And {len(whole.records) - 1}?"]
