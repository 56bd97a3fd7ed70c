"""Overrides of a call in this process: it has them, and the agent and its next call do not."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import pytest

from playhead.runtime import Agent, OverrideRefusedError, tool
from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.models import (
    AnthropicModel,
    BedrockModel,
    DemoModel,
    OpenAIModel,
    ScriptedModel,
    resolve,
    tool_call,
)
from playhead.runtime.models.local.model import LocalModel
from playhead.runtime.models.params import with_params

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def left() -> str:
    """Go left."""
    return "left"


@tool
def right() -> str:
    """Go right."""
    return "right"


class Tuned(ScriptedModel):
    """A scripted model that keeps the parameters of each of its copies."""

    used: list[dict[str, Any]]

    def with_params(self, params: Any) -> Self:
        self.used = [*getattr(self, "used", []), dict(params)]
        return self


def walker(model: ScriptedModel, **options: Any) -> Agent:
    given: dict[str, Any] = {"tools": [left, right], "system_prompt": "Walk.", "callback_handler": None}
    given["allow_overrides"] = {"system_prompt", "model", "tools", "params"}
    return Agent(model, name="walker", **(given | options))


async def test_a_call_has_its_overrides_and_the_next_one_has_not() -> None:
    model = Tuned(["One.", "Two."])
    agent = walker(model)
    await agent.invoke_async("Go", system_prompt="Run.", tools=["right"], params={"seed": 7})
    await agent.invoke_async("Go")
    assert [one.system_prompt for one in model.requests] == ["Run.", "Walk."]
    assert [[spec["name"] for spec in one.tool_specs or []] for one in model.requests] == [["right"], ["left", "right"]]
    assert model.used == [{"seed": 7}]
    assert len(agent.messages) == 4


async def test_another_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "DemoModel", partial(DemoModel, delay=0))
    agent = walker(ScriptedModel(["Mine."]))
    assert "offline demo model" in str(await agent.invoke_async("Go", model="demo"))
    assert str(await agent.invoke_async("Go")) == "Mine.\n"


def test_code_that_is_not_async_may_pass_them_too() -> None:
    model = ScriptedModel(["One."])
    assert str(walker(model)("Go", tools=[])) == "One.\n"
    assert model.requests[0].tool_specs is None


async def test_a_call_of_a_tool_that_is_not_offered_does_not_run_it() -> None:
    model = ScriptedModel([tool_call("left", {}), "Well."])
    result = await walker(model).invoke_async("Go", tools=["right"])
    (block,) = model.requests[1].messages[-1].get("content", [])
    assert block["toolResult"]["status"] == "error"
    assert str(result) == "Well.\n"


async def test_what_is_not_allowed_is_refused_and_nothing_is_said() -> None:
    agent = walker(ScriptedModel(["One."]), allow_overrides={"tools": ["left"]})
    for given in ({"model": "demo"}, {"system_prompt": ""}, {"tools": ["right"]}, {"params": {}}):
        overrides: dict[str, Any] = dict(given)
        with pytest.raises(OverrideRefusedError):
            await agent.invoke_async("Go", **overrides)
    assert agent.messages == []
    assert str(await agent.invoke_async("Go", tools=["left"])) == "One.\n"


def test_an_unknown_model_or_tool_is_refused_when_the_agent_is_made() -> None:
    with pytest.raises(ModelConfigurationError, match="gpt-5"):
        walker(ScriptedModel([]), allow_overrides={"model": ["gpt-5"]})
    with pytest.raises(ValueError, match="'up' is not a tool of the agent, which has left, right"):
        walker(ScriptedModel([]), allow_overrides={"tools": ["up"]})


def test_a_model_with_parameters_is_another_and_the_first_keeps_its_own() -> None:
    own = {"seed": 1, "top_k": 2}
    models = [OpenAIModel("m", api_key="k", params=own), AnthropicModel("m", params=own), BedrockModel("m", params=own)]
    for first in models:
        second: Any = with_params(first, {"seed": 5})
        assert type(second) is type(first)
        assert second.get_config()["params"] == {"seed": 5, "top_k": 2}
        assert first.get_config()["params"] == own
    assert LocalModel("m.gguf").with_params({"seed": 5}).get_config()["params"] == {"seed": 5}
    assert DemoModel().with_params({"seed": 5}).get_config()["params"] == {"seed": 5}
    assert "params" not in DemoModel().get_config()


def test_a_model_that_reasons_by_its_parameters_does_not_go_on_from_a_partial_message() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    claude, bedrock = AnthropicModel("m"), BedrockModel("anthropic.claude-x-v1:0")
    assert not claude.with_params(thinking).continues_partial
    assert not bedrock.with_params({"additionalModelRequestFields": thinking}).continues_partial
    assert claude.continues_partial
    assert bedrock.continues_partial


def test_a_model_that_takes_no_parameters_says_so() -> None:
    class Plain:
        stream = ScriptedModel([]).stream

    with pytest.raises(ModelConfigurationError, match=r"Plain has no method with_params\(params\)"):
        with_params(Plain(), {"seed": 5})
