"""Model objects of Strands, unchanged, in an agent: over a server on loopback, with their own errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from strands.models import Model as StrandsBase
from strands.models.anthropic import AnthropicModel as StrandsAnthropic
from strands.models.openai_responses import OpenAIResponsesModel
from strands.types.exceptions import ContextWindowOverflowException, ModelThrottledException

from playhead.runtime import Agent, ModelConfigurationError, NullConversationManager, RetryPolicy, tool
from playhead.runtime.models import text_call
from tests.support.fleet import Fleet
from tests.support.vendor_server import Asked, events_of, saying, serving

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def said(block: dict[str, Any], delta: dict[str, Any], reason: str) -> bytes:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    return events_of(
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )


async def test_a_model_object_of_strands_runs_an_agent_with_a_tool_in_a_fleet(fleet: Fleet) -> None:
    answers = [
        said(
            {"type": "tool_use", "id": "t1", "name": "add", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a": 1, "b": 2}'},
            "tool_use",
        ),
        said({"type": "text", "text": ""}, {"type": "text_delta", "text": "3."}, "end_turn"),
    ]

    async def respond(asked: Asked) -> None:
        await saying(answers.pop(0))(asked)

    async with serving(respond) as server:
        args = {"api_key": "k", "base_url": server.url, "max_retries": 0}
        model: Any = StrandsAnthropic(client_args=args, model_id="claude", max_tokens=99)
        agent = Agent(model, name="agent", tools=[add], system_prompt="Be brief.", callback_handler=None)
        async with model.client, fleet.worker(agent), fleet.client() as client:
            result = await client.invoke_async("agent", "Add 1 and 2")
    assert str(result) == "3.\n"
    assert result.metrics.accumulated_usage["inputTokens"] == 14
    first, second = [asked.body for asked in server.asked]
    assert first["system"] == [{"type": "text", "text": "Be brief."}]
    assert second["messages"][-1]["content"][0]["content"] == [{"type": "text", "text": "3"}]


class Failing(StrandsBase):
    """A model of a Strands user, which raises Strands' own exceptions before it responds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def update_config(self, **model_config: Any) -> None:
        pass

    def get_config(self) -> Any:
        return {"model_id": "failing"}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        if self.errors:
            raise self.errors.pop(0)
        for chunk in text_call("Hi"):
            yield chunk


NO_WAIT = RetryPolicy(initial_delay=0)


async def test_strands_throttling_is_retried_as_ours() -> None:
    model: Any = Failing(ModelThrottledException("slow"), ModelThrottledException("down"))
    assert str(await Agent(model, retry=NO_WAIT, callback_handler=None).invoke_async("hello")) == "Hi\n"
    assert model.errors == []


async def test_strands_overflow_is_not_retried_and_leaves_the_iterator_as_itself() -> None:
    model: Any = Failing(ContextWindowOverflowException("too long"), ValueError("never asked"))
    keeps_all = NullConversationManager()
    made = Agent(model, retry=NO_WAIT, conversation_manager=keeps_all, callback_handler=None)
    with pytest.raises(ContextWindowOverflowException, match="too long"):
        await made.invoke_async("hello")
    assert len(model.errors) == 1


def test_a_stateful_model_is_refused_when_the_agent_is_made() -> None:
    model: Any = OpenAIResponsesModel(client_args={"api_key": "k"}, model_id="m", stateful=True)
    with pytest.raises(ModelConfigurationError, match="the OpenAIResponsesModel given as model"):
        Agent(model)
