"""Sessions: one run at a time, in order, each seeing what came before; and no run that ends badly blocks the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Notice
from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.errors import RecordTooLargeError, RunFailedError
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def texts(messages: Messages | list[Message]) -> list[str]:
    """Each message as `role: text`."""
    return [
        f"{message.get('role')}: {block['text']}"
        for message in messages
        for block in message.get("content", [])
        if "text" in block
    ]


def echo(messages: Messages) -> str:
    return f"You said {messages[-1].get('content', [])[0]['text']}"


def echoing(name: str = "echo") -> Agent:
    return Agent(ScriptedModel([echo], repeat=True), name=name, callback_handler=None)


async def test_a_run_sees_the_messages_of_the_runs_before_it(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]]
) -> None:
    agent = echoing()
    async with fleet.worker(agent), fleet.client() as client:
        for prompt in ("one", "two", "three"):
            await client.invoke_async("echo", prompt, session_id="ada")
        assert texts(await client.log.messages("ada")) == [
            "user: one",
            "assistant: You said one",
            "user: two",
            "assistant: You said two",
            "user: three",
            "assistant: You said three",
        ]
        assert await client.log.messages("another user") == []
        assert agent.messages == [], "a fleet's agent is a definition and keeps nothing"
    assert no_key_leaks() == []


async def test_runs_of_one_session_run_one_at_a_time_in_the_order_they_came(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with (
        fleet.worker(Agent(model, name="agent")),
        fleet.worker(Agent(model, name="agent")),
        fleet.client() as client,
    ):
        runs = [await client.start("agent", str(number), session_id="ada") for number in range(6)]
        other = await client.start("agent", "other", session_id="bob")
        await model.held.wait()
        await model.called(2)  # the other session's run is not held up
        assert [(await run.info()).state for run in runs] == ["running"] + ["queued"] * 5
        model.go.set()
        for run in [*runs, other]:
            await run.result()
        messages = texts(await client.log.messages("ada"))
        assert messages[0::2] == [f"user: {number}" for number in range(6)]
        assert messages[1::2] == [f"assistant: {model.text}"] * 6
        histories = [len(call) for call in model.calls if call[0].get("content") == [{"text": "0"}]]
        assert histories == [1, 3, 5, 7, 9, 11]


async def test_many_runs_thrown_at_one_session_at_once_all_run_and_each_extends_the_last(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.worker(echoing()), fleet.client() as client:
        results: list[str] = []

        async def ask(number: int) -> None:
            results.append(str(await client.invoke_async("echo", f"<{number}>", session_id="ada")))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        assert sorted(results) == sorted(f"You said <{number}>\n" for number in range(20))
        messages = await client.log.messages("ada")
        assert len(messages) == 40
        for user, assistant in zip(messages[0::2], messages[1::2], strict=True):
            (said,), (answered,) = texts([user]), texts([assistant])
            assert answered == f"assistant: You said {said.removeprefix('user: ')}"


async def test_two_agents_share_a_session(fleet: Fleet) -> None:
    async with fleet.worker(echoing("left")), fleet.worker(echoing("right")), fleet.client() as client:
        await client.invoke_async("left", "one", session_id="ada")
        await client.invoke_async("right", "two", session_id="ada")
        assert len(await client.log.messages("ada")) == 4


async def test_without_a_prompt_a_run_goes_on_from_the_session(fleet: Fleet) -> None:
    model = ScriptedModel([lambda messages: str(len(messages))], repeat=True)
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        assert str(await client.invoke_async("agent", "Hi", session_id="ada")) == "1\n"
        assert str(await client.invoke_async("agent", None, session_id="ada")) == "2\n"
        assert texts(await client.log.messages("ada")) == ["user: Hi", "assistant: 1", "assistant: 2"]


async def test_an_agents_own_messages_come_before_the_sessions_and_are_not_stored_in_it(fleet: Fleet) -> None:
    opening: Messages = [
        {"role": "user", "content": [{"text": "Who are you?"}]},
        {"role": "assistant", "content": [{"text": "Ada."}]},
    ]
    model = ScriptedModel([lambda messages: str(len(messages))], repeat=True)
    agent = Agent(model, name="agent", messages=opening)
    async with fleet.worker(agent), fleet.client() as client:
        for expected in ("3\n", "5\n"):
            assert str(await client.invoke_async("agent", "Hi", session_id="ada")) == expected
        assert texts(model.requests[-1].messages)[:2] == ["user: Who are you?", "assistant: Ada."]
        assert len(await client.log.messages("ada")) == 4
    assert agent.messages == opening


async def test_a_failed_runs_user_message_stays_and_the_next_run_goes_on(fleet: Fleet) -> None:
    script = [ScriptedCall(text_call("Half an")[:3], RuntimeError("no money left")), echo]
    async with fleet.worker(Agent(ScriptedModel(script), name="agent")), fleet.client() as client:
        first = await client.start("agent", "first", session_id="ada")
        second = await client.start("agent", "second", session_id="ada")
        with pytest.raises(RunFailedError, match="no money left"):
            await first.result()
        await second.result()
        assert texts(await client.log.messages("ada")) == ["user: first", "user: second", "assistant: You said second"]


async def test_the_user_message_stays_when_the_run_failed_in_the_worker(fleet: Fleet) -> None:
    huge = [c.message_start(), c.text_delta("x" * 3000), c.message_stop("end_turn")]
    agent = Agent(ScriptedModel([huge, echo]), name="agent", max_record_bytes=2000)
    async with fleet.worker(agent), fleet.client() as client:
        with pytest.raises(RecordTooLargeError):
            await client.invoke_async("agent", "first", session_id="ada")
        await client.invoke_async("agent", "second", session_id="ada")
        assert texts(await client.log.messages("ada")) == ["user: first", "user: second", "assistant: You said second"]


async def test_what_a_failed_run_had_done_stays_and_calls_left_open_are_closed(fleet: Fleet) -> None:
    @tool
    def look() -> str:
        """Looks."""
        return "seen"

    def script(messages: Messages) -> Any:
        if "toolResult" in messages[-1].get("content", [{}])[0]:
            return ScriptedCall([], RuntimeError("no money left"))
        return tool_call("look", {}) if len(messages) == 1 else "So you looked."

    agent = Agent(ScriptedModel([script], repeat=True), name="agent", tools=[look])
    async with fleet.worker(agent), fleet.client() as client:
        with pytest.raises(RunFailedError):
            await client.invoke_async("agent", "Look", session_id="ada")
        await client.invoke_async("agent", "And?", session_id="ada")
        roles = [
            (message.get("role"), sorted(message.get("content", [{}])[0]))
            for message in await client.log.messages("ada")
        ]
        assert roles == [
            ("user", ["text"]),
            ("assistant", ["toolUse"]),
            ("user", ["toolResult"]),
            ("user", ["text"]),
            ("assistant", ["text"]),
        ]


async def test_a_run_cancelled_while_queued_adds_nothing_to_the_session_and_the_next_runs(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        first, second, third = [await client.start("agent", name, session_id="ada") for name in ("1", "2", "3")]
        await model.held.wait()
        assert await second.cancel() == "cancelled"
        model.go.set()
        await first.result()
        await third.result()
        assert texts(await client.log.messages("ada"))[0::2] == ["user: 1", "user: 3"]


async def test_cancelled_while_it_runs_a_run_gives_the_session_to_the_next(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        first, second = [await client.start("agent", name, session_id="ada") for name in ("1", "2")]
        await model.held.wait()
        await first.cancel()
        assert (await first.result()).stop_reason == "cancelled"
        model.go.set()
        await second.result()
        assert texts(await client.log.messages("ada")) == [
            "user: 1",
            "assistant: Cancelled by user",
            "user: 2",
            f"assistant: {model.text}",
        ]


async def test_a_session_held_by_a_run_that_no_worker_serves_can_be_freed(fleet: Fleet) -> None:
    told = anyio.Event()
    kinds: list[str] = []

    def on_notice(notice: Notice) -> None:
        kinds.append(notice.kind)
        told.set()

    async with fleet.worker(echoing()), fleet.client(on_notice=on_notice) as client, anyio.create_task_group() as tasks:
        blocker = await client.start("unserved", "1", session_id="ada")
        waiting = await client.start("echo", "2", session_id="ada")
        tasks.start_soon(waiting.result)
        await told.wait()
        assert kinds == ["queued"]
        assert await blocker.cancel() == "cancelled"
    async with fleet.client() as client:
        assert texts(await client.log.messages("ada")) == ["user: 2", "assistant: You said 2"]


async def test_a_run_handed_over_adds_to_its_session_once(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model, heir = held_model(), held_model()
    heir.go.set()
    async with fleet.client() as client:
        run = await client.start("agent", "Hi", session_id="ada")
        later = await client.start("agent", "Ho", session_id="ada")
        async with fleet.worker(Agent(model, name="agent")):
            await model.held.wait()
        assert await client.log.messages("ada") == []
        assert (await later.info()).state == "queued"
        async with fleet.worker(Agent(heir, name="agent")):
            await run.result()
            await later.result()
        message = f"assistant: {heir.text}"
        assert texts(await client.log.messages("ada")) == ["user: Hi", message, "user: Ho", message]


async def test_a_sessions_messages_outlive_its_runs(fleet: Fleet) -> None:
    async with fleet.worker(echoing(), retention_ms=1), fleet.client() as client:
        run = await client.start("echo", "one", session_id="ada")

        async def gone() -> bool:
            return await client.log.info(run.id) is None

        await fleet.until(gone)
        await client.start("echo", "two", session_id="ada")

        async def both() -> bool:
            return len(await client.log.messages("ada")) == 4

        await fleet.until(both)
        assert texts(await client.log.messages("ada"))[0] == "user: one"


async def test_a_session_whose_present_run_vanished_is_not_blocked(fleet: Fleet) -> None:
    """A user deletes a run's keys: the next run must not wait for ever for a run that is gone."""
    async with fleet.client() as client:
        ghost = await client.start("echo", "one", session_id="ada")
        await fleet.ask("DEL", client.log.keys.run(ghost.id), client.log.keys.log(ghost.id))
        async with fleet.worker(echoing()):
            assert str(await client.invoke_async("echo", "two", session_id="ada")) == "You said two\n"


@pytest.mark.parametrize("name", ["with spaces", "emoji \N{GRINNING FACE}", "{braces}:and:colons", "x" * 256])
async def test_odd_session_names_are_names(fleet: Fleet, name: str) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        await client.invoke_async("echo", "one", session_id=name)
        await client.invoke_async("echo", "two", session_id=name)
        assert len(await client.log.messages(name)) == 4


@pytest.mark.parametrize("name", ["", "x" * 257, "line\nbreak", "nul\0", "\ud800"])
async def test_unusable_session_names_are_refused(fleet: Fleet, name: str) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="session_id must be 1 to 256 printable characters"):
            await client.start("echo", "Hi", session_id=name)
        assert await client.runs() == []
