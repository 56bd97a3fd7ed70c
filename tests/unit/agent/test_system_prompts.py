"""A system prompt is a text, or blocks with cache points, which reach the model as they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import strands
from strands.models import Model as TheirModel

from playhead.runtime import Agent
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.models import ScriptedModel, text_call

__all__: list[str] = []

pytestmark = pytest.mark.anyio

POINT = {"cachePoint": {"type": "default"}}
BLOCKS: list[Any] = [{"text": "Be brief."}, POINT, {"text": "Be kind."}]
PROMPTS: list[Any] = [None, "Be brief.", BLOCKS, [{"text": "Be brief."}], [POINT]]


class Asked(TheirModel):
    """A model of Strands that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []

    def update_config(self, **model_config: Any) -> None:
        """There is nothing to change."""

    def get_config(self) -> Any:
        return {"model_id": "asked"}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def stream(
        self, messages: Any, tool_specs: Any = None, system_prompt: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        self.asked.append((system_prompt, kwargs.get("system_prompt_content")))
        for chunk in text_call("Fine."):
            yield chunk


def agent(system_prompt: Any, model: Any = None, **options: Any) -> Agent:
    return Agent(model or ScriptedModel(["Fine."]), system_prompt=system_prompt, callback_handler=None, **options)


@pytest.mark.parametrize("prompt", PROMPTS, ids=["none", "text", "blocks", "one block", "only a point"])
async def test_attributes_and_what_a_model_of_strands_gets_are_those_of_strands(prompt: Any) -> None:
    ours, theirs = Asked(), Asked()
    here, there = agent(prompt, ours), strands.Agent(theirs, system_prompt=prompt, callback_handler=None)
    assert (here.system_prompt, here.system_prompt_content) == (there.system_prompt, there.system_prompt_content)
    await here.invoke_async("Hi")
    await there.invoke_async("Hi")
    assert ours.asked == theirs.asked
    for other in PROMPTS:
        here.system_prompt = there.system_prompt = other
        assert (here.system_prompt, here.system_prompt_content) == (there.system_prompt, there.system_prompt_content)


async def test_a_prompt_that_is_set_counts_from_the_next_call_on() -> None:
    model = ScriptedModel(["One.", "Two."])
    one = agent(BLOCKS, model)
    await one.invoke_async("Hi")
    one.system_prompt = "Be long."
    await one.invoke_async("Hi")
    first, second = model.requests
    assert (first.system_prompt, first.system_prompt_content) == ("Be brief.\nBe kind.", BLOCKS)
    assert (second.system_prompt, second.system_prompt_content) == ("Be long.", None)


async def test_a_model_that_takes_no_blocks_gets_the_text() -> None:
    asked: list[str | None] = []

    class Plain:
        async def stream(
            self, messages: Any, tool_specs: Any = None, system_prompt: str | None = None
        ) -> AsyncGenerator[Chunk, None]:
            asked.append(system_prompt)
            for chunk in text_call("Fine."):
                yield chunk

    await agent(BLOCKS, Plain()).invoke_async("Hi")
    assert asked == ["Be brief.\nBe kind."]


async def test_the_prompt_of_a_call_replaces_the_blocks() -> None:
    model = ScriptedModel(["Fine."])
    await agent(BLOCKS, model, allow_overrides=["system_prompt"]).invoke_async("Hi", system_prompt="Be loud.")
    assert (model.requests[0].system_prompt, model.requests[0].system_prompt_content) == ("Be loud.", None)
    first = RunSubmitted(at=0, agent="agent", options={"system_prompt": "Be loud."})
    changed = agent(BLOCKS).definition.of_run(first, seq=9)
    assert (changed.system_prompt, changed.system_prompt_content) == ("Be loud.", None)


def test_the_blocks_are_in_the_definition_and_a_text_is_as_it_was() -> None:
    stored = agent(BLOCKS).definition.stored()
    assert AgentDefinition.of(stored.data).system_prompt_content == BLOCKS
    assert "system_prompt_content" not in agent("Be brief.").definition.held
    again = agent("else").as_recorded(AgentDefinition.of(stored.data), model=None)
    assert (again.system_prompt, again.system_prompt_content) == ("Be brief.\nBe kind.", BLOCKS)
    assert again.definition.stored().digest == stored.digest


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        (5, TypeError, "system_prompt must be a text or None, not 5"),
        (["Be brief."], TypeError, r"system_prompt\[0\] must be a block"),
        ([{"image": {}}], ValueError, r"system_prompt\[0\].*its blocks are text, cachePoint, guardContent"),
        ([{"text": "a"}, {"text": object()}], ValueError, r"system_prompt\[1\]\['text'\] is object"),
    ],
)
def test_what_is_not_a_system_prompt_is_refused_when_it_is_given_or_set(
    prompt: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        agent(prompt)
    one = agent("Be brief.")
    with pytest.raises(error, match=says):
        one.system_prompt = prompt
    assert one.system_prompt == "Be brief."
