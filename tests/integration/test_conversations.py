"""`client.session(id)`: a conversation is read while it goes on, cut, copied and deleted; old runs never get a wrong history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client, Conversation, Run, RunReader, open_log
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.errors import (
    RedisAuthError,
    RequestNotFoundError,
    SessionExistsError,
    SessionHeldError,
    SessionNotFoundError,
)
from playhead.runtime.core.records import ModelStarted
from playhead.runtime.log.redis.rights import acl_rules
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def texts(messages: Iterable[Message]) -> list[str]:
    """Each message as `role: text`, or its kind of block."""
    return [
        f"{message.get('role')}: {block.get('text', next(iter(block)))}"
        for message in messages
        for block in message.get("content", [])
    ]


def echo(messages: Messages) -> str:
    return f"You said {messages[-1].get('content', [])[0]['text']}"


def echoing(name: str = "echo") -> Agent:
    return Agent(ScriptedModel([echo], repeat=True), name=name, callback_handler=None)


@tool
def pay(context: ToolContext) -> str:
    """Pays, if allowed to."""
    return f"paid: {context.interrupt('approve', 'May I?')}"


def paying(messages: Messages) -> Any:
    return "Done." if "toolResult" in messages[-1].get("content", [{}])[0] else tool_call("pay", {})


async def shown(conversation: Conversation) -> list[str]:
    """What a page shows that was opened: the messages, then the text that comes, without what is retracted of it."""
    assert conversation.run is not None
    streamed = ""
    async for event in conversation.run.stream_async(after=conversation.cursor):
        streamed += event.get("data", "")
        assert "retracted" not in event
    return [*texts(conversation.messages), streamed]


# Reading


async def test_a_page_that_is_opened_while_nothing_runs_shows_the_messages(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        session = client.session("ada")
        assert await session.conversation() == Conversation([], None, None)
        await client.invoke_async("echo", "one", session_id="ada")
        found = await session.conversation()
        assert texts(found.messages) == ["user: one", "assistant: You said one"]
        assert found.messages == await session.messages()
        assert (found.run, found.cursor, await session.active_run()) == (None, None, None)


async def test_a_page_that_is_opened_in_the_middle_of_an_answer_shows_it_once(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.client() as client:
        session = client.session("ada")
        async with fleet.worker(echoing("agent")):
            await client.invoke_async("agent", "one", session_id="ada")
        run = await client.start("agent", "two", session_id="ada")
        queued = await session.conversation()
        async with fleet.worker(Agent(model, name="agent", callback_handler=None)):
            await model.held.wait()
            running = await session.conversation()
            model.go.set()
            await run.result()
        for found in (queued, running):
            assert found.run is not None
            assert found.run.id == run.id
            assert await shown(found) == ["user: one", "assistant: You said one", "user: two", "one two three"]
        assert texts((await session.conversation()).messages)[-1] == "assistant: one two three"


async def test_a_page_that_is_opened_after_a_takeover_does_not_show_the_text_that_was_retracted(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    first, second = held_model(["half of an"]), held_model(["a whole"], [" answer"])
    async with fleet.client() as client:
        async with fleet.worker(Agent(first, name="agent", callback_handler=None)):
            run = await client.start("agent", "Hi", session_id="ada")
            await first.held.wait()
        async with fleet.worker(Agent(second, name="agent", callback_handler=None)):
            await second.held.wait()
            found = await client.session("ada").conversation()
            second.go.set()
            await run.result()
        assert await shown(found) == ["user: Hi", "a whole answer"]


async def test_a_page_that_is_opened_while_a_run_asks_shows_the_question(fleet: Fleet) -> None:
    agent = Agent(ScriptedModel([paying], repeat=True), name="payer", tools=[pay], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("payer", "Pay.", session_id="ada")
        asked = (await run.result(on_pause="end")).interrupts
        found = await client.session("ada").conversation()
        assert texts(found.messages) == ["user: Pay.", "assistant: toolUse"]
        assert found.run is not None
        results = [event["result"] async for event in found.run.stream_async(after=found.cursor) if "result" in event]
        assert [one.interrupts for one in results] == [asked]
        assert texts(await client.agent("payer", session_id="ada").messages()) == texts(found.messages)
        await run.respond({one.id: "yes" for one in asked or []})
        await run.result()
        assert len(await client.agent("payer", session_id="ada").messages()) == 4


async def test_the_sessions_are_listed_page_by_page_over_all_shards(fleet: Fleet) -> None:
    names = [f"session {number}" for number in range(5)]
    async with fleet.client(shards=4) as client, fleet.worker(echoing(), more=fleet.logs(range(1, 4))):
        for name in names:
            await client.invoke_async("echo", "one", session_id=name)
        held = await client.start("unserved", "Hi", session_id=names[0])
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await client.sessions(limit=2, cursor=cursor)
            found += [info.session for info in page]
            if (cursor := page.cursor) is None:
                break
        assert found == [names[0], *names[:0:-1]]
        info = await client.session(names[0]).info()
        assert (info.messages, info.run) == (2, held.id)
        assert [run.run_id for run in await client.session(names[0]).runs(limit=1)] == [held.id]
        assert len(await client.session(names[0]).runs()) == 2
        with pytest.raises(ValueError, match="cursor 'nonsense' is not one of a page of sessions"):
            await client.sessions(cursor="nonsense")
        with pytest.raises(SessionNotFoundError, match="no session 'eve'"):
            await client.session("eve").info()


# Cutting


async def first_call(run: RunReader) -> int:
    return next(iter([entry.seq async for entry in run.records() if isinstance(entry.record, ModelStarted)]))


async def test_later_runs_begin_from_what_is_left_and_earlier_ones_say_that_their_history_is_gone(
    fleet: Fleet, tmp_path: Path
) -> None:
    agent, path = echoing(), tmp_path / "run.jsonl"
    async with fleet.worker(agent), fleet.client() as client:
        runs: list[Run] = []
        for prompt in ("one", "two", "three"):
            runs.append(await client.start("echo", prompt, session_id="ada"))
            await runs[-1].result()
        session = client.session("ada")
        assert await session.trim(keep_last=3) == 4
        runs.append(await client.start("echo", "four", session_id="ada"))
        await runs[-1].result()
        assert texts(await session.messages())[::2] == ["user: two", "user: three", "user: four"]

        gone = (
            "began from 4 messages of the session 'ada', of which 2 are left: the session was trimmed or deleted since"
        )
        with pytest.raises(RequestNotFoundError, match=gone):
            await runs[2].request(await first_call(runs[2]))
        with pytest.raises(ValueError, match=f"{gone}: it cannot be forked"):
            await runs[2].fork(at=4)
        assert (await verify(runs[2], agent)).notes == ("2 messages of the session that the run began from are gone",)
        assert not (await runs[2].states().at(4)).history_known
        assert (await verify(runs[0], agent)).notes == ()

        request = await runs[3].request(await first_call(runs[3]))
        assert texts(request.request.messages)[::2] == ["user: two", "user: three", "user: four"]
        await runs[3].export(path)
        (imported,) = await client.import_runs(path, as_id="0-kept")
        fork = await imported.fork(at=4)
        assert str(await fork.result()) == "You said four\n"
        await session.delete()
        with open_log(path) as file:
            for run in (file.run(), imported, fork):
                assert (await verify(run, agent)).notes == ()
                assert len((await run.request(await first_call(run))).request.messages) == 5
        with pytest.raises(RequestNotFoundError, match="of which 0 are left"):
            await runs[3].request(await first_call(runs[3]))


async def test_a_conversation_is_cut_before_a_turn_and_not_within_one(fleet: Fleet) -> None:
    @tool
    def look() -> str:
        """Looks."""
        return "seen"

    def script(messages: Messages) -> Any:
        return "So you looked." if "toolResult" in messages[-1].get("content", [{}])[0] else tool_call("look", {})

    agent = Agent(ScriptedModel([script], repeat=True), name="agent", tools=[look], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        for _ in range(3):
            await client.invoke_async("agent", "Look", session_id="ada")
        session = client.session("ada")
        assert await session.trim(keep_last=6) == 8
        assert await session.trim(keep_last=2) == 4
        assert await session.trim(keep_last=2) == 4
        assert texts(await session.messages())[:2] == ["user: Look", "assistant: toolUse"]
        assert str(await client.invoke_async("agent", "Look", session_id="ada")) == "So you looked.\n"


async def test_what_a_run_holds_is_neither_cut_nor_deleted_and_a_copy_of_it_is_made(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.client() as client:
        session = client.session("ada")
        async with fleet.worker(echoing("agent")):
            for prompt in ("one", "two"):
                await client.invoke_async("agent", prompt, session_id="ada")
        async with fleet.worker(Agent(model, name="agent", callback_handler=None)):
            run = await client.start("agent", "three", session_id="ada")
            await model.held.wait()
            for change in (session.trim(keep_last=1), session.delete()):
                with pytest.raises(SessionHeldError, match=rf"run {run.id} \(running\) holds the session 'ada'"):
                    await change
            copy = await session.fork("copy")
            assert texts(await copy.messages())[::2] == ["user: one", "user: two"]
            model.go.set()
            await run.result()
        assert len(await session.messages()) == 6


async def test_a_deleted_session_begins_anew(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        session = client.session("ada")
        assert await session.delete() is False
        await client.invoke_async("echo", "one", session_id="ada")
        assert await session.delete() is True
        assert (await session.messages(), await client.sessions()) == ([], [])
        with pytest.raises(SessionNotFoundError):
            await session.trim(keep_last=1)
        await client.invoke_async("echo", "two", session_id="ada")
        assert texts(await session.messages()) == ["user: two", "assistant: You said two"]


# Copying


async def test_a_conversation_goes_on_in_another_way_from_a_place_in_it(fleet: Fleet) -> None:
    async with fleet.client(shards=4) as client, fleet.worker(echoing(), more=fleet.logs(range(1, 4))):
        for prompt in ("one", "two"):
            await client.invoke_async("echo", prompt, session_id="ada")
        for name in ("cleo", "dan", "user-5"):  # on the other shards
            copy = await client.session("ada").fork(name, at=2)
            await client.invoke_async("echo", "other", session_id=name)
            assert texts(await copy.messages())[::2] == ["user: one", "user: other"]
        assert texts(await client.session("ada").messages())[::2] == ["user: one", "user: two"]
        assert len(await (await client.session("ada").fork("all")).messages()) == 4


async def test_a_copy_made_again_is_the_same_and_never_replaces_another_session(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        session = client.session("ada")
        with pytest.raises(SessionNotFoundError):
            await session.fork("copy")
        await client.invoke_async("echo", "one", session_id="ada")
        for _ in range(2):
            assert (await session.fork("copy")).id == "copy"
        await client.invoke_async("echo", "two", session_id="copy")
        with pytest.raises(ValueError, match="session 'ada' cannot be forked to its own id"):
            await session.fork("ada")
        for at in (None, 1):
            with pytest.raises(SessionExistsError, match="there is a session 'copy' already"):
                await session.fork("copy", at=at)
        with pytest.raises(ValueError, match="at must be from 1 to 2"):
            await session.fork("other", at=3)
        with pytest.raises(ValueError, match="session_id must be 1 to 256 printable characters"):
            await session.fork("")


# Rights


async def test_a_client_manages_sessions_with_its_documented_rights_and_a_viewer_only_reads_them(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as owner:
        await owner.invoke_async("echo", "one", session_id="ada")
        for role in ("client", "viewer"):
            rules = acl_rules(role, prefix=fleet.prefix).split()
            await fleet.ask("ACL", "SETUSER", role, "reset", "on", ">pw", *rules)
        try:
            urls = [fleet.url.replace("redis://", f"redis://{role}:pw@") for role in ("viewer", "client")]
            async with Client(urls[0], prefix=fleet.prefix) as viewer, Client(urls[1], prefix=fleet.prefix) as client:
                for reader in (viewer, client):
                    assert [info.messages for info in await reader.sessions()] == [2]
                    assert len((await reader.session("ada").conversation()).messages) == 2
                with pytest.raises(RedisAuthError):
                    await viewer.session("ada").delete()
                await client.session("ada").fork("copy")
                assert await client.session("ada").trim(keep_last=1) == 2
                assert await client.session("ada").delete()
        finally:
            await fleet.ask("ACL", "DELUSER", "client", "viewer")
