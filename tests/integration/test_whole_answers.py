"""A worker that leaves after the last chunk of an answer: another one adds the message and calls no model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import Agent
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.records import ModelChunk, ModelStarted
from playhead.runtime.models import ScriptedModel, text_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class NeverEnds(ScriptedModel):
    """Sends a whole answer, and does not end its stream."""

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        for chunk in text_call("Hello there."):
            yield chunk
        await anyio.sleep_forever()


async def test_the_next_worker_adds_a_whole_answer_and_its_session_has_it_once(fleet: Fleet) -> None:
    heir = ScriptedModel([])
    async with fleet.client() as client:
        async with fleet.worker(Agent(NeverEnds([]), name="agent", callback_handler=None)):
            run = await client.start("agent", "Hi", session_id="ada")
            async for entry in run.records():
                if isinstance(entry.record, ModelChunk) and "metadata" in entry.record.chunk:
                    break
        async with fleet.worker(Agent(heir, name="agent", callback_handler=None)):
            result = await run.result()
        assert str(result) == "Hello there.\n"
        assert result.metrics.accumulated_usage["outputTokens"] == 2, "its tokens are counted"
        assert heir.requests == []
        assert sum([isinstance(entry.record, ModelStarted) async for entry in run.records()]) == 1
        assert [event async for event in run.stream_async() if "retracted" in event] == []
        said = await client.log.messages("ada")
        assert [message.get("role") for message in said] == ["user", "assistant"]
