"""Where in an answer a cancel still counts, and what a broken answer does."""

from __future__ import annotations

import pytest

from playhead.runtime import Agent, Event
from playhead.runtime.models import ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("last_seen", "stop_reason"),
    [("contentBlockDelta", "cancelled"), ("messageStop", "cancelled"), ("metadata", "end_turn")],
)
async def test_a_cancel_takes_an_answer_back_unless_all_of_it_is_there(last_seen: str, stop_reason: str) -> None:
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
