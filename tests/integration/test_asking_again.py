"""Leaving a stream and asking again; submitting one run id again; keywords that a call does not have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client, RemoteAgent
from playhead.runtime import Agent, AgentBusyError, RunConflictError, tool
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def counting(*texts: str) -> Agent:
    return Agent(ScriptedModel(list(texts)), callback_handler=None)


# Leaving an agent's stream in this process


async def test_a_stream_is_left_by_break_and_the_agent_answers_at_once() -> None:
    agent = counting("one two three", "four")
    async for event in agent.stream_async("count"):
        if "data" in event:
            break
    assert str(await agent.invoke_async("again")) == "four\n"
    assert [message.get("role") for message in agent.messages] == ["user", "user", "assistant"]


@pytest.mark.parametrize("times", [1, 5])
async def test_streams_are_left_by_break_one_after_the_other(times: int) -> None:
    agent = counting(*["one two"] * times, "end")
    for _ in range(times):
        async for event in agent.stream_async("count"):
            if "data" in event:
                break
    assert str(await agent.invoke_async("again")) == "end\n"


async def test_a_stream_is_left_by_an_error_or_by_return() -> None:
    agent = counting("one two", "three four", "end")

    async def first_word() -> str:
        async for event in agent.stream_async("count"):
            if "data" in event:
                return event["data"]
        raise AssertionError

    assert await first_word() == "one"
    with suppress(ZeroDivisionError):
        async for event in agent.stream_async("count"):
            if "data" in event:
                raise ZeroDivisionError
    assert str(await agent.invoke_async("again")) == "end\n"


async def test_a_left_stream_has_stopped_its_tools_before_the_next_call_begins() -> None:
    order: list[str] = []

    @tool
    async def slow() -> AsyncGenerator[str, None]:
        """Slow."""
        try:
            yield "begun"
            await anyio.sleep_forever()
        finally:
            order.append("stopped")

    def answer(messages: Any) -> str:
        order.append("asked")
        return "end"

    agent = Agent(ScriptedModel([tool_call("slow", {}), answer]), tools=[slow], callback_handler=None)
    async for event in agent.stream_async("go"):
        if event.get("type") == "tool_stream":
            break
    with anyio.fail_after(5):
        assert str(await agent.invoke_async("again")) == "end\n"
    assert order == ["stopped", "asked"]


async def test_of_two_calls_after_a_left_stream_one_is_refused(held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    agent = Agent(model, callback_handler=None)
    async for event in agent.stream_async("Hi"):
        if "data" in event:
            break
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.invoke_async, "again")
            await model.called(2)
            with pytest.raises(AgentBusyError):
                await agent.invoke_async("and again")
            model.go.set()


async def test_a_stream_that_a_reader_holds_is_not_taken_from_it() -> None:
    agent = counting("one two", "three")
    stream = agent.stream_async("count")
    seen = [await anext(stream)]
    with pytest.raises(AgentBusyError, match="close its stream"):
        await agent.invoke_async("again")
    seen += [event async for event in stream]
    assert "".join(event.get("data", "") for event in seen) == "one two"
    assert str(await agent.invoke_async("again")) == "three\n"


async def test_an_agent_is_used_in_one_event_loop_after_another() -> None:
    agent = counting("one two", "three four", "end")

    async def leave() -> None:
        async for event in agent.stream_async("count"):
            if "data" in event:
                break

    await anyio.to_thread.run_sync(lambda: asyncio.run(leave()))
    loop = asyncio.new_event_loop()
    await anyio.to_thread.run_sync(lambda: loop.run_until_complete(leave()))
    await anyio.to_thread.run_sync(lambda: loop.run_until_complete(loop.shutdown_asyncgens()))
    loop.close()
    assert str(await agent.invoke_async("again")) == "end\n"


# One run id


def echo(messages: Any) -> str:
    """Says the text of the last message."""
    return messages[-1]["content"][0]["text"]


def echoing() -> Agent:
    return Agent(ScriptedModel([echo], repeat=True), name="echo", callback_handler=None)


async def test_streaming_and_invoking_take_a_run_id_and_give_one_run(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        run_id = new_run_id()
        result = await client.invoke_async("echo", "one", run_id=run_id)
        first = [event async for event in client.stream_async("echo", "one", run_id=run_id)]
        again = [event async for event in client.stream_async("echo", "one", run_id=run_id)]
        assert str(result) == str(first[-1]["result"]) == "one\n"
        assert first == again
        assert {event.run_id for event in first} == {run_id}
        assert [info.run_id for info in await client.runs()] == [run_id]


@pytest.mark.parametrize("ended", [False, True])
async def test_one_run_id_for_two_requests_is_a_conflict_and_changes_nothing(fleet: Fleet, ended: bool) -> None:
    async with fleet.client() as client:
        run_id = await client.new_run_id(session_id="ada")
        given: dict[str, Any] = {"session_id": "ada", "invocation_state": {"user": "ada"}, "run_id": run_id}
        run = await client.start("echo", [{"text": "one"}], **given)
        if ended:
            async with fleet.worker(echoing()):
                await run.result()
        head = (await run.info()).head
        changes: list[tuple[str, Any, dict[str, Any], list[str]]] = [
            ("echo", [{"text": "two"}], {}, ["prompt"]),
            ("other", [{"text": "one"}], {}, ["agent"]),
            ("echo", [{"text": "one"}], {"invocation_state": {}}, ["invocation_state"]),
            ("echo", [{"text": "one"}], {"session_id": None}, ["session_id"]),
            ("other", "one", {}, ["agent", "prompt"]),
        ]
        for agent, prompt, changed, differs in changes:
            other = {**given, **changed}
            for call in (client.start, client.invoke_async):
                with pytest.raises(RunConflictError, match=run_id) as raised:
                    await call(agent, prompt, **other)
                assert raised.value.differs == differs
            with pytest.raises(RunConflictError):
                await anext(client.stream_async(agent, prompt, **other))
        assert (await run.info()).head == head
        assert (await client.start("echo", [{"text": "one"}], **given)).id == run_id


async def test_a_request_is_the_same_after_the_log_has_changed_its_types(fleet: Fleet) -> None:
    async with fleet.client() as client:
        for _ in range(2):
            state = {"pair": (1, 2), "nan": float("nan"), "bytes": b"\x00"}
            await client.start("echo", "one", run_id="mine", invocation_state=state)


# Keywords


def calls_of(one: Agent | RemoteAgent) -> list[Callable[..., Any]]:
    return [one.stream_async, one.invoke_async, one]


async def refused(call: Callable[..., Any], keyword: str, *args: Any) -> str:
    """The text of the TypeError for this keyword."""
    try:
        await call(*args, **{keyword: 1})
    except TypeError as error:
        return str(error)
    raise AssertionError(f"{keyword!r} was accepted")


@pytest.mark.parametrize("number", [0, 1, 2], ids=["stream_async", "invoke_async", "call"])
async def test_a_keyword_that_an_agent_does_not_know_is_a_type_error_that_lists_what_there_is(
    fleet: Fleet, number: int
) -> None:
    async with fleet.client() as client:
        for one in (counting("Hi"), client.agent("echo")):
            call = calls_of(one)[number]
            for keyword in ("invocation_stat", "mood", "session_id"):
                text = await refused(call, keyword, "Hi")
                assert f"no argument {keyword!r}" in text
                assert "It has: prompt, invocation_state" in text
                assert "invocation_state={…}" in text
            text = await refused(call, "cancel_signal", "Hi")
            here = "cancel_signal must be a threading.Event" if isinstance(one, Agent) else "here await agent.cancel()"
            assert here in text
            assert "Strands has idempotency_token; here" in await refused(call, "idempotency_token", "Hi")
        assert await client.runs() == []


async def test_a_keyword_that_a_client_does_not_know_is_a_type_error_that_lists_what_there_is(fleet: Fleet) -> None:
    async with fleet.client() as client:
        for call in (client.start, client.stream_async, client.invoke_async):
            text = await refused(call, "idempotency_token", "echo", "Hi")
            assert "It has: agent, prompt, session_id, invocation_state, metadata, run_id, deadline" in text
            assert "here choose a run_id for client.start()" in text
        assert await client.runs() == []


def test_an_agent_names_what_to_use_in_place_of_an_argument_of_strands() -> None:
    make: Any = Agent
    with pytest.raises(
        TypeError, match=r"Agent\(\) has no argument 'checkpointing'.*every record is a checkpoint, after"
    ):
        make(checkpointing=True)


def test_the_keywords_are_refused_before_a_client_is_open() -> None:
    client: Any = Client()
    with pytest.raises(TypeError, match="no argument 'cancel_signal'"):
        client.stream_async("echo", "Hi", cancel_signal=1)
    with pytest.raises(TypeError, match=r"limits\['turns'\] must be a whole number above 0, not 0"):
        client.stream_async("echo", "Hi", limits={"turns": 0})
    with pytest.raises(TypeError, match="structured_output_model must be a pydantic class or a JSON schema, not 1"):
        client.stream_async("echo", "Hi", structured_output_model=1)
