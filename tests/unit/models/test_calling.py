"""A model's `stream` gets what Strands' loop passes, as far as it accepts it."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from playhead.runtime import Agent, ModelConfigurationError
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.models import text_call
from playhead.runtime.models.calling import CallContext, open_stream

__all__: list[str] = []

HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]
REQUEST = ModelRequest(
    HELLO, [{"name": "add", "description": "", "inputSchema": {"json": {}}}], "Be brief.", {"any": {}}
)


class Open:
    """A model that accepts everything, and keeps the keyword arguments of each call."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def stream(
        self, messages: Messages, tool_specs: Any = None, system_prompt: str | None = None, **kwargs: Any
    ) -> AsyncGenerator[Chunk, None]:
        self.asked.append({"arguments": [messages, tool_specs, system_prompt], **kwargs})
        for chunk in text_call("Hi"):
            yield chunk


class Narrow(Open):
    """A model that accepts two of them."""

    async def stream(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        cancel_signal: Any = None,
        *,
        agent_metadata: Any = None,
    ) -> AsyncGenerator[Chunk, None]:
        self.asked.append({"cancel_signal": cancel_signal, "agent_metadata": agent_metadata})
        for chunk in text_call("Hi"):
            yield chunk


async def drained(model: Any, context: CallContext) -> list[Chunk]:
    return [chunk async for chunk in open_stream(model, REQUEST, context)]


@pytest.mark.anyio
async def test_a_stream_with_keywords_gets_everything() -> None:
    model, signal = Open(), threading.Event()
    context = CallContext(invocation_state={"user": "ada"}, cancel_signal=signal, session_id="s")
    assert await drained(model, context) == list(text_call("Hi"))
    (asked,) = model.asked
    assert asked.pop("agent_metadata").session_id == "s"
    assert asked == {
        "arguments": [REQUEST.messages, REQUEST.tool_specs, "Be brief."],
        "tool_choice": {"any": {}},
        "system_prompt_content": [{"text": "Be brief."}],
        "invocation_state": {"user": "ada"},
        "model_state": {},
        "cancel_signal": signal,
    }
    assert asked["invocation_state"] is context.invocation_state


@pytest.mark.anyio
async def test_a_stream_gets_only_the_keywords_that_it_accepts() -> None:
    model, context = Narrow(), CallContext(session_id="s")
    await drained(model, context)
    assert model.asked[0]["cancel_signal"] is context.cancel_signal
    assert model.asked[0]["agent_metadata"].session_id == "s"


@pytest.mark.anyio
async def test_a_run_gives_its_values_and_one_state_to_all_its_calls() -> None:
    model = Open()
    agent = Agent(model, system_prompt="Be brief.", callback_handler=None)
    await agent.invoke_async("one", invocation_state={"user": "ada"})
    (asked,) = model.asked
    assert asked["invocation_state"]["user"] == "ada"
    assert asked["system_prompt_content"] == [{"text": "Be brief."}]
    assert not asked["cancel_signal"].is_set()


@pytest.mark.anyio
async def test_a_cancel_sets_the_signal_before_the_stream_is_closed() -> None:
    seen: list[bool] = []

    class Slow(Open):
        async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            try:
                for chunk in text_call("Hi"):
                    yield chunk
                    agent.cancel()
            finally:
                seen.append(kwargs["cancel_signal"].is_set())

    agent = Agent(Slow(), callback_handler=None)
    assert (await agent.invoke_async("one")).stop_reason == "cancelled"
    assert seen == [True]


@pytest.mark.anyio
async def test_a_stream_that_is_not_iterable_fails_the_run_with_its_name() -> None:
    class Later:
        async def stream(self, *args: Any, **kwargs: Any) -> list[Chunk]:
            return list(text_call("Hi"))

    with pytest.raises(TypeError, match=r"Later\.stream must be an async generator"):
        await Agent(Later(), callback_handler=None).invoke_async("one")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("model", [object(), Open, 5, {"stream": 1}])
def test_what_has_no_stream_is_refused_when_the_agent_is_made(model: Any) -> None:
    with pytest.raises(ModelConfigurationError, match="or an object with a stream method"):
        Agent(model)


def test_a_model_that_keeps_the_conversation_on_its_server_is_refused_when_the_agent_is_made() -> None:
    class Stateful(Open):
        stateful = True

    with pytest.raises(ModelConfigurationError, match="use stateful=False"):
        Agent(Stateful())
