"""Where in a message a cancel still counts, and what a broken message does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from playhead.runtime import Agent, Event
from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("last_seen", "stop_reason"),
    [("contentBlockDelta", "cancelled"), ("messageStop", "cancelled"), ("metadata", "end_turn")],
)
async def test_a_cancel_withdraws_a_message_unless_all_of_it_is_there(last_seen: str, stop_reason: str) -> None:
    agent = Agent(model=ScriptedModel(["Hello"]), callback_handler=None)
    result = None
    async for event in agent.stream_async("Hi"):
        if last_seen in event.get("event", {}):
            agent.cancel()
        result = event.get("result")
    assert result is not None
    assert result.stop_reason == stop_reason
    assert str(result) == ("Hello\n" if stop_reason == "end_turn" else "Cancelled by user\n")


async def test_a_malformed_chunk_fails_the_run_as_the_providers_error() -> None:
    agent = Agent(
        model=ScriptedModel([[{"messageStart": {"role": "assistant"}}, {"messageStop": {}}]]), callback_handler=None
    )
    events: list[Event] = []

    async def collect() -> None:
        async for event in agent.stream_async("Hi"):
            events.append(event)  # noqa: PERF401  (a comprehension would lose them with the error)

    with pytest.raises(KeyError, match="stopReason"):
        await collect()
    assert events[-1]["force_stop"] is True


async def test_a_cancel_is_a_cancel_whatever_the_provider_makes_of_being_broken_off() -> None:
    class Rude(ScriptedModel):
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            try:
                async for chunk in super().stream(*args, **kwargs):
                    yield chunk
                    if "contentBlockDelta" in chunk:
                        await anyio.sleep_forever()
            except asyncio.CancelledError:
                raise ConnectionError("the request was aborted") from None

    agent = Agent(model=Rude(["Hello"]), callback_handler=None)

    async def cancel() -> None:
        agent.cancel()

    result = None
    async with anyio.create_task_group() as tasks:
        async for event in agent.stream_async("Hi"):
            if "data" in event:
                tasks.start_soon(cancel)  # runs as soon as the model waits
            result = event.get("result")
    assert result is not None
    assert result.stop_reason == "cancelled"


class Closing:
    """A model whose streams raise when they are closed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Stream(ScriptedModel(["Hello"]).stream(*args, **kwargs), self.error)


class _Stream:
    def __init__(self, chunks: AsyncGenerator[Chunk, None], error: BaseException) -> None:
        self.chunks = chunks
        self.error = error

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Chunk:
        return await anext(self.chunks)

    async def aclose(self) -> None:
        await self.chunks.aclose()
        raise self.error


@pytest.mark.parametrize("error", [ConnectionError("closed already"), asyncio.CancelledError()])
async def test_a_message_that_is_all_there_is_kept_whatever_closing_its_stream_raises(error: BaseException) -> None:
    agent = Agent(model=Closing(error), callback_handler=None)
    assert str(await agent.invoke_async("Hi")) == "Hello\n"


async def test_a_stream_cancelled_from_within_is_the_providers_error_and_not_a_cancel() -> None:
    class Cancelled(ScriptedModel):
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            async for chunk in super().stream(*args, **kwargs):
                yield chunk
                if "contentBlockDelta" in chunk:
                    raise asyncio.CancelledError

    agent = Agent(model=Cancelled(["Hello"]), callback_handler=None)
    with pytest.raises(RuntimeError, match="cancelled from within"):
        await agent.invoke_async("Hi")
