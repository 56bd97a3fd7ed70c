"""A session stays usable after a turn that failed, also with a server that requires roles in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.models import ScriptedCall, ScriptedModel, tool_call
from playhead.runtime.models.openai.messages import chat_request
from testkit.provider.strict import flaws

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def look() -> str:
    """Look."""
    return "seen"


FAILS = ScriptedCall([], RuntimeError("boom"))


@pytest.mark.parametrize("calls", [[FAILS], [tool_call("look", {}), FAILS]], ids=["at once", "after a tool"])
async def test_the_turn_after_a_failed_one_is_in_strict_order(fleet: Fleet, calls: list[Any]) -> None:
    asked: list[str] = []

    def script(messages: Messages) -> str:
        request = chat_request(messages)
        assert flaws(request) == []
        asked.extend(message["role"] for message in request["messages"])
        return "Done."

    agent = Agent(ScriptedModel([*calls, script]), name="agent", tools=[look], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        with pytest.raises(RunFailedError, match="boom"):
            await client.invoke_async("agent", "one", session_id="ada")
        assert str(await client.invoke_async("agent", "two", session_id="ada")) == "Done.\n"
    assert asked == (["user"] if len(calls) == 1 else ["user", "assistant", "tool", "assistant", "user"])
