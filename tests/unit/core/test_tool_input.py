"""The input of a tool call is what the model sent, or the call is not run."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.model_input import for_model
from playhead.runtime.core.tool_input import read_tool_input, unread_input
from playhead.runtime.models import ScriptedModel
from playhead.runtime.models import chunks as c

__all__: list[str] = []

BERN = {"city": "Bern"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        (" \n", {}),
        ("{}", {}),
        ("null", {}),
        ("{}{}", {}),
        ('{"city": "Bern"}', BERN),
        ('{}{"city": "Bern"}', BERN),
        ('null{"city": "Bern"}', BERN),
        ('{"city": "Bern"}{}', BERN),
        ('{"city": "Bern"}\n{"city":"Bern"}', BERN),
        ('"{\\"city\\": \\"Bern\\"}"', BERN),
        ('{"city": "Be\nrn"}', {"city": "Be\nrn"}),
        ("[1]", [1]),
        ('"x"', "x"),
        ('"[1]"', "[1]"),
        ("7", 7),
    ],
)
def test_what_has_one_meaning_is_read(text: str, value: Any) -> None:
    assert read_tool_input(text) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Bern"',
        '{"city": "Bern"}{"city": "Rome"}',
        '{"city": "Bern"}, {"n": 1}',
        "city=Bern",
        "{'city': 'Bern'}",
        '{"n": NaN}',
        '{"n": -Infinity}',
        "[" * 100_000,
    ],
)
def test_what_has_no_meaning_or_two_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        read_tool_input(text)


def call(text: str, *, tool_use_id: str = "t1", name: str = "search") -> list[Chunk]:
    return [c.tool_start(tool_use_id, name), c.tool_delta(text), c.block_stop()]


def message(*chunks: Chunk) -> Message:
    assembler = MessageAssembler()
    for chunk in chunks:
        assembler.feed(chunk)
    return assembler.message()


def test_the_text_of_each_unread_input_is_kept_by_the_position_of_its_call() -> None:
    said = [c.block_start(), c.text_delta("Let me."), c.block_stop()]
    found = message(*said, *call("{}"), *call('{"query": "cats'), *call("no", tool_use_id="t3"))
    assert [unread_input(found, index) for index in range(4)] == [None, '{"query": "cats', "no", None]
    assert [block["toolUse"]["input"] for block in found.get("content", [])[1:]] == [{}, {}, {}]


def test_no_provider_gets_the_text_in_the_history() -> None:
    assert for_model([message(*call("no"))])[0].keys() == {"role", "content"}


async def turn(*chunks: Chunk) -> tuple[list[str], list[dict[str, Any]], list[Message]]:
    """What the tool was asked, the results that the model got, and the message events."""
    asked: list[str] = []

    @tool
    def search(query: str = "everything") -> str:
        """Search.

        Args:
            query: What for.
        """
        asked.append(query)
        return f"found {query}"

    model = ScriptedModel([[c.message_start(), *chunks, c.message_stop("tool_use")], "done"])
    agent = Agent(model=model, tools=[search], callback_handler=None)
    messages = [event["message"] async for event in agent.stream_async("go") if "message" in event]
    results = [block["toolResult"] for each in messages for block in each["content"] if "toolResult" in block]
    return asked, results, messages


@pytest.mark.anyio
async def test_a_call_whose_input_cannot_be_read_is_not_run_and_the_model_is_told_what_it_sent() -> None:
    readable = call('{"query": "dogs"}', tool_use_id="t2")
    asked, results, messages = await turn(*call('{"query": "cats'), *readable)
    assert asked == ["dogs"]
    assert [(result["toolUseId"], result["status"]) for result in results] == [("t1", "error"), ("t2", "success")]
    assert '{"query": "cats' in results[0]["content"][0]["text"]
    assert messages[0].get("metadata", {}).keys() == {"usage", "metrics"}  # events are Strands'


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["[1]", '"x"', "7", "true"])
async def test_a_call_whose_input_is_not_an_object_is_not_run(text: str) -> None:
    asked, results, _ = await turn(*call(text))
    assert asked == []
    assert results[0]["status"] == "error"


@pytest.mark.anyio
async def test_a_call_left_by_an_earlier_run_is_not_run_either() -> None:
    asked: list[str] = []

    @tool
    def search(query: str = "everything") -> str:
        """Search.

        Args:
            query: What for.
        """
        asked.append(query)
        return f"found {query}"

    history: list[Message] = [{"role": "user", "content": [{"text": "go"}]}, message(*call('{"query": "cats'))]
    agent = Agent(model=ScriptedModel(["done"]), tools=[search], messages=history, callback_handler=None)
    await agent.invoke_async(None)
    assert asked == []
    assert agent.messages[2].get("content", [])[0]["toolResult"]["status"] == "error"
