"""What people paste and tools give does not end a session: each later run of it still gets its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.errors import InvalidMessageError
from playhead.runtime.core.records import RunClaimed, RunCompleted
from playhead.runtime.log.values import Batch, RunEnd
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.models import chunks as c

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def texts(messages: Messages) -> str:
    return "|".join(block.get("text", "") for message in messages for block in message.get("content", []))


def echoing(*first: Any, **more: Any) -> Agent:
    """An agent whose model says all the texts it was sent, after the calls of `first`."""
    return Agent(ScriptedModel([*first, texts], repeat=True), name="agent", callback_handler=None, **more)


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("cut \ud83d off", "cut \ufffd off"),
        ([{"role": "user", "content": "hello"}], "hello"),
        ([{"type": "text", "text": "hello"}], "hello"),
    ],
)
async def test_a_prompt_in_another_form_is_taken(fleet: Fleet, prompt: Any, sent: str) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        assert str(await client.invoke_async("agent", prompt, session_id="ada")) == f"{sent}\n"
        assert str(await client.invoke_async("agent", "and now", session_id="ada")) == f"{sent}|{sent}|and now\n"


async def test_a_prompt_or_steer_that_cannot_be_sent_is_refused_before_it_is_stored(fleet: Fleet) -> None:
    async with fleet.client() as client:
        with pytest.raises(InvalidMessageError, match=r"prompt\[0\]\['text'\] is of type int"):
            await client.start("agent", [{"text": 42}], session_id="ada")
        assert await client.runs() == []
        run = await client.start("agent", "hi")
        with pytest.raises(InvalidMessageError, match=r"steer\[0\]\['text'\] is of type int"):
            await run.steer([{"text": 42}])
        assert await client.log.inbox(run.id) == []
        await run.steer([{"type": "text", "text": "cut \ud83d"}])
        assert [signal.body for signal in await client.log.inbox(run.id)] == [[{"text": "cut \ufffd"}]]


async def test_what_is_refused_on_a_fleet_is_refused_in_process() -> None:
    agent = echoing()
    with pytest.raises(InvalidMessageError, match=r"prompt\[0\]\['text'\] is of type int"):
        await agent.invoke_async([{"text": 42}])
    assert agent.messages == []
    assert str(await agent.invoke_async("hi")) == "hi\n"


async def test_messages_put_into_an_agent_later_are_sent_in_their_right_form() -> None:
    agent = echoing()
    odd: Any = {"role": "user", "content": "first"}
    agent.messages.append(odd)
    assert str(await agent.invoke_async("hi")) == "first|hi\n"


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [(("a\ud83d", "b"), "a\ufffdb"), (("a\ud83d", "\ude00b"), "a\U0001f600b"), (("a\ud83d",), "a\ufffd")],
)
async def test_half_characters_that_a_model_streams_are_whole_for_every_reader(
    fleet: Fleet, pieces: tuple[str, ...], whole: str
) -> None:
    said = [c.message_start(), *map(c.text_delta, pieces), c.block_stop(), c.message_stop("end_turn")]
    async with fleet.worker(echoing(said)), fleet.client() as client:
        events = [event async for event in client.stream_async("agent", "go", session_id="ada")]
        assert "".join(event.get("data", "") for event in events) == whole
        assert str(events[-1]["result"]) == f"{whole}\n"
        assert str(await client.invoke_async("agent", "now", session_id="ada")) == f"go|{whole}|now\n"


async def test_a_tool_gets_whole_characters_and_so_does_the_history(fleet: Fleet) -> None:
    given: list[str] = []

    @tool
    def note(text: str) -> str:
        """Note."""
        given.append(text)
        return "noted"

    agent = echoing(tool_call("note", {"text": "cut \ud83d"}), tools=[note])
    async with fleet.worker(agent), fleet.client() as client:
        await client.invoke_async("agent", "go", session_id="ada")
        call = (await client.log.messages("ada"))[1].get("content", [])[0]["toolUse"]
    assert given == ["cut \ufffd"] == [call["input"]["text"]]


async def test_a_session_that_an_older_version_spoiled_can_be_used_again(fleet: Fleet) -> None:
    spoiled: Any = {"role": "user", "content": "hello"}
    half: Message = {"role": "assistant", "content": [{"text": "cut \ud83d"}]}
    async with fleet.client() as client:
        run = await client.start("old", "hello", session_id="ada")
        claimed = encode_record(RunClaimed(at=0, worker="w"))
        claim = await client.log.claim({"old": claimed}, worker="w", token="t", lease_ms=10_000)
        assert claim is not None
        ended = encode_record(RunCompleted(at=0, result={}))
        await client.log.finish(RunEnd(Batch(run.id, "t", claim.head, [ended]), "completed", "ada", [spoiled, half]))
        async with fleet.worker(echoing()):
            assert str(await client.invoke_async("agent", "two", session_id="ada")) == "hello|cut \ufffd|two\n"
