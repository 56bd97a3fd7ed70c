"""A session whose history was reduced: later runs begin from what is left, and the session keeps every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime import Agent, ContextWindowOverflowException, SlidingWindowConversationManager
from playhead.runtime.core.context import is_marker
from playhead.runtime.core.records import ModelStarted
from playhead.runtime.models import ScriptedCall, ScriptedModel
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def texts(messages: Any) -> list[str]:
    return [message["content"][0]["text"] for message in messages]


async def test_a_reduction_holds_for_the_session_and_its_messages_are_all_kept(fleet: Fleet) -> None:
    too_long = ScriptedCall(error=ContextWindowOverflowException("too long"))
    model = ScriptedModel(["1", "2", too_long, "3", "4"])
    manager = SlidingWindowConversationManager(window_size=6)
    greeting: Any = [{"role": "user", "content": [{"text": "Be brief."}]}]
    agent = Agent(model, name="agent", messages=greeting, conversation_manager=manager, callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        for prompt in ("one", "two", "three", "four"):
            run = await client.start("agent", prompt, session_id="ada")
            await run.result()
        session, every = client.session("ada"), ["one", "1", "two", "2", "three", "3", "four", "4"]
        assert texts(await session.messages()) == texts((await session.conversation()).messages) == every
        assert texts(await (await session.fork("copy", at=6)).messages()) == every[:6]
        assert (await session.info()).messages == len(every)
        said = await client.log.messages("ada")
        assert texts(one for one in said if not is_marker(one)) == every
        assert [is_marker(one) for one in said].count(True) == 1
        sent = [texts(request.messages) for request in model.requests]
        assert sent[2] == ["Be brief.", "one", "1", "two", "2", "three"]
        assert sent[3] == ["two", "2", "three"]
        assert sent[4] == ["two", "2", "three", "3", "four"]
        (start,) = [entry.seq async for entry in run.records() if isinstance(entry.record, ModelStarted)]
        assert (await run.request(start)).request == model.requests[-1], "the records tell what was sent"
        assert texts((await run.states().at(start)).state.messages) == sent[4]
        found = await verify(run, agent)
    assert found.same, found.text


async def test_a_session_is_trimmed_and_copied_with_its_reductions(fleet: Fleet) -> None:
    too_long = ScriptedCall(error=ContextWindowOverflowException("too long"))
    model = ScriptedModel(["1", "2", too_long, "3", "4", "5"])
    agent = Agent(model, conversation_manager=SlidingWindowConversationManager(window_size=4), callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        for prompt in ("one", "two", "three"):
            await client.invoke_async("agent", prompt, session_id="ada")
        session = client.session("ada")
        assert texts(model.requests[3].messages) == ["two", "2", "three"]
        copy = await session.fork("copy")
        assert await session.trim(keep_last=4) == 4
        assert texts(await session.messages()) == ["two", "2", "three", "3"]
        for one in (session, copy):
            await client.invoke_async("agent", "four", session_id=one.id)
            assert texts(model.requests[-1].messages) == ["two", "2", "three", "3", "four"]
        assert texts(await copy.messages()) == ["one", "1", "two", "2", "three", "3", "four", "5"]
