"""`agent.tool.name(…)` calls a tool as a model's call does, and leaves the messages in the history that Strands leaves."""

from __future__ import annotations

import re
from typing import Any

import pytest
import strands

from playhead.runtime import (
    AfterToolCallEvent,
    Agent,
    AgentBusyError,
    AgentPausedError,
    BeforeToolCallEvent,
    MessageAddedEvent,
    ToolContext,
    tool,
)
from playhead.runtime.core.converse import Message
from playhead.runtime.models import ScriptedModel, tool_call

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Colour:
    """A value that is not plain data."""

    def __str__(self) -> str:
        return "red"


def spoken(name: str) -> Any:
    """A function to be a tool of both libraries."""

    def body(city: str, mood: str = "fine") -> str:
        """Tell the weather.

        Args:
            city: The city.
            mood: The mood.
        """
        if city == "nowhere":
            raise LookupError("no such city")
        return f"sun in {city}, {mood}"

    body.__name__ = name
    return body


def ours(**options: Any) -> Agent:
    given: dict[str, Any] = {"tools": [tool(spoken("weather")), tool(name="far-away")(spoken("far"))]}
    return Agent(ScriptedModel(["Fine."], repeat=True), callback_handler=None, **{**given, **options})


def theirs() -> strands.Agent:
    model: Any = ScriptedModel(["Fine."])
    model.stateful = False
    tools: list[Any] = [strands.tool(spoken("weather")), strands.tool(name="far-away")(spoken("far"))]
    return strands.Agent(model, tools=tools, callback_handler=None)


def without_ids(value: Any) -> Any:
    """The value, in which the numbers of calls and messages are left out, because both libraries choose them at random."""
    if isinstance(value, dict):
        return {key: without_ids(one) for key, one in value.items() if key != "tracking_id"}
    if isinstance(value, list):
        return [without_ids(one) for one in value]
    return re.sub(r"_\d{9}$", "", value) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("weather", {"city": "Bonn"}),
        ("weather", {"city": "Bonn", "mood": "grim", "user_message_override": "Look."}),
        ("weather", {"city": "Bonn", "beside": [1, 2]}),
        ("weather", {"city": "nowhere"}),
        ("far_away", {"city": "Köln"}),
    ],
    ids=["plain", "with a text", "with an unknown input", "raises", "hyphen"],
)
def test_result_and_history_are_those_of_strands(name: str, given: dict[str, Any]) -> None:
    here, there = ours(), theirs()
    result, expected = getattr(here.tool, name)(**given), getattr(there.tool, name)(**given)
    assert re.fullmatch(rf"tooluse_{name}_\d{{9}}", result["toolUseId"])
    assert without_ids(result) == without_ids(expected)
    assert without_ids(here.messages) == without_ids(there.messages)
    assert len(here.messages) == 4


def test_the_model_is_asked_with_the_recorded_call() -> None:
    model = ScriptedModel(["Sunny."])
    agent = Agent(model, tools=[tool(spoken("weather"))], callback_handler=None)
    agent.tool.weather(city="Bonn")
    assert str(agent("And?")) == "Sunny.\n"
    assert [message.get("role") for message in model.requests[0].messages] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize(
    ("options", "keywords", "recorded"),
    [
        ({}, {}, 4),
        ({}, {"record_direct_tool_call": False}, 0),
        ({"record_direct_tool_call": False}, {}, 0),
        ({"record_direct_tool_call": False}, {"record_direct_tool_call": True}, 4),
    ],
)
def test_a_call_is_recorded_as_the_agent_or_the_call_says(
    options: dict[str, Any], keywords: dict[str, Any], recorded: int
) -> None:
    agent = ours(**options)
    assert agent.tool.weather(city="Bonn", **keywords)["status"] == "success"
    assert len(agent.messages) == recorded


def test_an_input_that_is_not_plain_data_reaches_the_tool_and_is_a_text_in_the_history() -> None:
    seen: list[object] = []

    @tool
    def paint(colour: Any) -> str:
        """Paint."""
        seen.append(colour)
        return "painted"

    agent, red = ours(tools=[paint]), Colour()
    assert agent.tool.paint(colour=red)["status"] == "success"
    assert seen == [red]
    asked, call = [message.get("content", [])[0] for message in agent.messages[:2]]
    assert asked["text"].endswith('Input parameters: {"colour": "<<non-serializable: Colour>>"}\n')
    assert call["toolUse"]["input"] == {"colour": "red"}


async def test_it_may_be_called_where_an_event_loop_runs() -> None:
    assert ours().tool.weather(city="Bonn")["content"] == [{"text": "sun in Bonn, fine"}]


def test_a_tool_that_is_not_there_is_an_attribute_error_that_names_those_that_are() -> None:
    agent = ours()
    with pytest.raises(AttributeError, match="has no tool 'weatherr'; it has: weather, far-away"):
        _ = agent.tool.weatherr
    assert agent.messages == []


async def test_while_an_invocation_is_in_progress_only_a_call_that_is_not_recorded_is_made() -> None:
    agent = ours()
    stream = agent.stream_async("Hi")
    await anext(stream)
    with pytest.raises(AgentBusyError):
        agent.tool.weather(city="Bonn")
    assert agent.tool.weather(city="Bonn", record_direct_tool_call=False)["status"] == "success"
    await stream.aclose()
    assert agent.tool.weather(city="Bonn")["status"] == "success"


async def test_a_tool_that_asks_a_human_is_refused() -> None:
    @tool
    def pay(context: ToolContext) -> str:
        """Pay."""
        return str(context.interrupt("sure"))

    agent = ours(tools=[pay])
    with pytest.raises(RuntimeError, match=r"agent\.tool\.pay\(…\) asks a human"):
        agent.tool.pay()
    assert agent.messages == []
    agent = Agent(ScriptedModel([tool_call("pay", {})]), tools=[pay], callback_handler=None)
    assert (await agent.invoke_async("Pay")).stop_reason == "interrupt"
    with pytest.raises(AgentPausedError):
        agent.tool.pay(record_direct_tool_call=False)


def test_hooks_of_tool_calls_and_messages_are_asked() -> None:
    heard: list[Any] = []

    def before(event: BeforeToolCallEvent) -> None:
        heard.append(event.tool_use["input"]["city"])
        event.tool_use["input"] = {"city": "Rome"}

    def after(event: AfterToolCallEvent) -> None:
        event.retry = len(heard) < 2

    def added(event: MessageAddedEvent) -> None:
        message: Message = event.message
        heard.append((message.get("role"), len(event.agent.messages)))

    agent = ours(hooks=[before, after, added])
    assert agent.tool.weather(city="Bonn")["content"] == [{"text": "sun in Rome, fine"}]
    assert heard == ["Bonn", "Bonn", ("user", 1), ("assistant", 2), ("user", 3), ("assistant", 4)]
