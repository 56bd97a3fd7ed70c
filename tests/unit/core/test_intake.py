"""The gate of a history: what enters it can be stored and sent, or is refused before it is stored."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from playhead.runtime import Agent
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import EncodingError, InvalidMessageError
from playhead.runtime.core.intake import (
    ChunkGate,
    checked_messages,
    checked_prompt,
    mended,
    model_message,
    whole_text,
)
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.segments import compact, expanded
from playhead.runtime.core.submission import submission
from playhead.runtime.core.tool_results import tool_result
from playhead.runtime.models import ScriptedModel

__all__: list[str] = []

PNG = b"\x89PNG"
IMAGE = {"image": {"format": "png", "source": {"bytes": PNG}}}
IN_BASE64 = base64.b64encode(PNG).decode()


# Prompts


@pytest.mark.parametrize(
    ("prompt", "taken"),
    [
        ("cut \ud83d off", "cut \ufffd off"),
        ("\ud83d\ude00", "\U0001f600"),
        (({"text": "a"},), [{"text": "a"}]),
        (
            [{"text": "\udc00", "cachePoint": {"type": "default"}}],
            [{"text": "\ufffd"}, {"cachePoint": {"type": "default"}}],
        ),
        ([{"type": "text", "text": "a"}], [{"text": "a"}]),
        ([{"image": {"source": {"bytes": PNG}}}], [IMAGE]),
        ([{"image": {"format": "png", "source": {"bytes": IN_BASE64}}}], [IMAGE]),
        ([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IN_BASE64}"}}], [IMAGE]),
        ([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IN_BASE64}}], [IMAGE]),
        ([{"role": "user", "content": "hello"}], [{"role": "user", "content": [{"text": "hello"}]}]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}],
            [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"text": "b"}]}],
        ),
        (
            [{"toolResult": {"toolUseId": "t", "content": "4"}}],
            [{"toolResult": {"toolUseId": "t", "status": "success", "content": [{"text": "4"}]}}],
        ),
        ([], []),
        (None, None),
    ],
)
def test_prompts_are_taken_in_every_known_form(prompt: Any, taken: Any) -> None:
    assert checked_prompt(prompt) == taken
    assert checked_prompt(taken) == taken


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ([{"text": 42}], "prompt[0]['text'] is of type int"),
        ([{"text": "a"}, {"text": None}], "prompt[1]['text'] is None"),
        ([{"image": "https://example.org/a.png"}], "prompt[0]['image'] is of type str"),
        ([{"image": {"format": "png"}}], "prompt[0]['image'] has no source"),
        ([{"image": {"format": "png", "source": {"bytes": "not base64!"}}}], "is not base64"),
        ([{"image": {"source": {"bytes": b"1"}}}], "has no format"),
        (
            [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
            "prompt[0] is a block of type 'image_url'",
        ),
        ([{"role": "system", "content": "Be brief."}], "pass it as the agent's system_prompt"),
        ([{"role": "tool", "tool_call_id": "t", "content": "4"}], "give a user message with {'toolResult'"),
        ([{"role": 7, "content": "a"}], "prompt[0] has the role 7"),
        ([{"role": "user", "content": None}], "prompt[0]['content'] is None"),
        ([{"role": "user", "content": [{}]}], "prompt[0]['content'][0] is an empty block"),
        ([{"role": "user", "content": ["a"]}], "prompt[0]['content'][0] is of type str"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "give blocks {'toolUse'"),
        ([{"toolUse": {"name": "x"}}], "prompt[0]['toolUse'] is not a tool call"),
        (
            [{"toolResult": {"toolUseId": "t", "content": [{"text": 1}]}}],
            "['toolResult']['content'][0]['text'] is of type int",
        ),
    ],
)
def test_what_no_model_can_be_sent_is_refused_with_its_place(prompt: Any, says: str) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        checked_prompt(prompt)
    assert says in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_a_prompt_that_is_not_plain_data_is_refused_with_its_place() -> None:
    with pytest.raises(EncodingError, match=r"prompt cannot be stored: prompt\[0\]\['text'\]\['a'\] is object"):
        checked_prompt([{"text": {"a": object()}}])


def texts(value: Any) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in cast("dict[Any, Any]", value).items():
            yield from texts(list(item))
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from texts(item)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    [
        "text",
        "json",
        "image",
        "document",
        "toolUse",
        "toolResult",
        "cachePoint",
        "type",
        "role",
        "content",
        "source",
        "bytes",
    ]
)
NEAR_BLOCKS = st.recursive(
    JSON | st.sampled_from(["text", "image", "user", "resource", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(NEAR_BLOCKS)
@example([{"text": "Hi", "role": "user", "content": "Hi"}])
@example([{"text": "Hi", "role": "text", "content": "Hi"}])
def test_whatever_a_caller_passes_is_taken_or_refused_by_name(prompt: Any) -> None:
    try:
        taken = checked_prompt(prompt)
    except (ValueError, EncodingError):
        return
    assert repr(checked_prompt(taken)) == repr(taken)
    for message in prompt_messages(taken) or []:
        assert mended(message) is message


@settings(deadline=None)
@given(NEAR_BLOCKS)
def test_whatever_is_stored_is_mended_and_mended_once(stored: Any) -> None:
    message = mended(stored)
    assert message.get("role") in ("user", "assistant")
    assert all(isinstance(block, dict) for block in message.get("content", []))
    assert all(isinstance(block["text"], str) for block in message.get("content", []) if "text" in block)
    assert all(whole_text(text) == text for text in texts(message))
    assert mended(message) is message


def test_a_stored_message_of_the_usual_form_is_kept_as_it_is() -> None:
    message: Message = {"role": "user", "content": [{"text": "a"}, IMAGE], "metadata": {"x": 1}}
    assert mended(message) is message


@pytest.mark.parametrize(
    ("stored", "content"),
    [
        ({"role": "user", "content": "hello"}, [{"text": "hello"}]),
        ({"role": "user", "content": [{"text": "cut \ud83d"}]}, [{"text": "cut \ufffd"}]),
        ({"role": "user", "content": [{"text": 42}, {}]}, [{"text": "42"}]),
        ({"role": "user"}, []),
    ],
)
def test_what_an_older_version_stored_can_be_sent(stored: Any, content: Any) -> None:
    assert mended(stored) == {"role": "user", "content": content}


# Messages and submissions


def test_an_agent_takes_messages_in_the_form_of_openai_and_refuses_others_when_it_is_made() -> None:
    agent = Agent(ScriptedModel([]), messages=[{"role": "user", "content": "hi"}], system_prompt="cut \ud83d")  # pyright: ignore[reportArgumentType]
    assert agent.messages == [{"role": "user", "content": [{"text": "hi"}]}]
    assert agent.system_prompt == "cut \ufffd"
    with pytest.raises(InvalidMessageError, match=r"messages\[0\] has the role 'system'"):
        Agent(ScriptedModel([]), messages=[{"role": "system", "content": "hi"}])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidMessageError, match=r"messages\[1\] is not a message"):
        checked_messages([{"role": "user", "content": "a"}, "b"])


@pytest.mark.parametrize(("agent", "session"), [("my agent!", None), ("a", ""), ("a", "x" * 257), ("a", "line\nbreak")])
def test_names_have_one_rule_in_process_and_on_a_fleet(agent: str, session: str | None) -> None:
    with pytest.raises(ValueError, match=r"cannot name an agent|session_id must be"):
        submission(agent, "hi", session=session, invocation_state={}, limit=1000)


# Tool results


class McpText(BaseModel):
    type: str = "text"
    text: str
    annotations: None = None


class McpResult(BaseModel):
    content: list[McpText]
    isError: bool = False


MCP = [
    ({"type": "text", "text": "a"}, [{"text": "a"}]),
    ({"type": "image", "data": IN_BASE64, "mimeType": "image/png"}, [IMAGE]),
    ({"type": "resource", "resource": {"uri": "file:///a", "text": "a"}}, [{"text": "a"}]),
    ({"type": "resource", "resource": {"uri": "file:///a", "blob": IN_BASE64, "mimeType": "image/png"}}, [IMAGE]),
    ({"type": "resource_link", "name": "a", "uri": "file:///a"}, [{"text": "[a resource: a, file:///a]"}]),
    (McpText(text="a"), [{"text": "a"}]),
]
ODD = [
    ({"text": 42}, [{"text": "42"}]),
    ({"text": None}, [{"text": "null"}]),
    ({"json": {"x": b"1"}}, [{"json": {"x": {"__bytes_encoded__": True, "data": "MQ=="}}}]),
    ({"json": {"x": float("nan")}}, [{"json": {"x": "NaN"}}]),
    ({"rows": [1]}, [{"json": {"rows": [1]}}]),
    ({"text": "cut \ud83d"}, [{"text": "cut \ufffd"}]),
    ({"text": "see", **IMAGE}, [{"text": "see"}, IMAGE]),
    ({}, []),
]


@pytest.mark.parametrize(("block", "blocks"), MCP + ODD)
def test_the_blocks_of_a_tools_result_become_those_of_a_history(block: Any, blocks: Any) -> None:
    result = tool_result("t1", {"status": "success", "content": [block]}, tool_name="look")
    assert result == {"toolUseId": "t1", "status": "success", "content": blocks}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "data": IN_BASE64, "mimeType": "audio/wav"},
        {"type": "image", "data": IN_BASE64, "mimeType": "image/tiff"},
        {"type": "image", "data": "not base64!", "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///a", "blob": IN_BASE64}},
        {"type": "resource"},
        {"type": 7},
        {"image": "a.png"},
        {"image": {"format": "png"}},
        {"document": None},
    ],
)
def test_a_block_that_no_model_can_be_given_becomes_a_sentence(block: Any) -> None:
    result = tool_result("t1", {"status": "success", "content": [block, {"text": "b"}]}, tool_name="look")
    first, second = result["content"]
    assert first["text"].startswith("[A part that cannot be given to a model: ")
    assert second == {"text": "b"}


@pytest.mark.parametrize(("failed", "status"), [(False, "success"), (True, "error")])
@pytest.mark.parametrize("as_dict", [False, True])
def test_a_result_of_mcp_is_a_result(failed: bool, status: str, as_dict: bool) -> None:
    given = McpResult(content=[McpText(text="a")], isError=failed)
    result = tool_result("t1", given.model_dump() if as_dict else given, tool_name="look")
    assert result == {"toolUseId": "t1", "status": status, "content": [{"text": "a"}]}


# What a model streams

STOP: Any = {"contentBlockStop": {}}


def through_the_gate(*chunks: Any) -> list[Any]:
    """The chunks that are stored for these; neighbouring deltas of one block as one."""
    gate, stored = ChunkGate(), list[list[Any]]()
    for chunk in chunks:
        for array, made in gate.take(compact(1, chunk), chunk):
            assert array == compact(1, made)
            if stored and array[0] != 0 and stored[-1][0] == array[0] and stored[-1][3:] == array[3:]:
                array = [*array[:2], stored.pop()[2] + array[2], *array[3:]]
            stored.append(array)
    return [expanded(array) for array in stored]


def text(piece: str, **place: int) -> Any:
    return {"contentBlockDelta": {"delta": {"text": piece}, **place}}


def thought(piece: str, **place: int) -> Any:
    return {"contentBlockDelta": {"delta": {"reasoningContent": {"text": piece}}, **place}}


def tool_input(piece: str, **place: int) -> Any:
    return {"contentBlockDelta": {"delta": {"toolUse": {"input": piece}}, **place}}


@pytest.mark.parametrize("place", [{}, {"contentBlockIndex": 1}])
@pytest.mark.parametrize("delta", [text, thought, tool_input])
def test_a_character_that_a_model_cuts_in_two_is_one(delta: Any, place: dict[str, int]) -> None:
    assert through_the_gate(delta("a\ud83d", **place), delta("\ude00b", **place)) == [delta("a\U0001f600b", **place)]
    assert through_the_gate(delta("\ud83d", **place), delta("", **place), delta("\ude00", **place), STOP) == [
        delta("\U0001f600", **place),
        STOP,
    ]
    assert through_the_gate(delta("\ud83d", **place), delta("\ud83d", **place), delta("\ude00b", **place)) == [
        delta("\ufffd\U0001f600b", **place)
    ]


@pytest.mark.parametrize("other", [thought("\ude00"), tool_input("\ude00"), text("\ude00", contentBlockIndex=1)])
def test_halves_in_two_blocks_are_not_one_character(other: Any) -> None:
    ((_, mended_other),) = ChunkGate().take(compact(1, other), other)
    assert through_the_gate(text("a\ud83d"), other) == [text("a\ufffd"), mended_other]


@pytest.mark.parametrize(
    ("chunk", "mended_chunk"),
    [
        ({"contentBlockDelta": {"delta": {"text": "\ud83d"}}}, {"contentBlockDelta": {"delta": {"text": "\ufffd"}}}),
        (
            {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "a\ud83d"}}, "contentBlockIndex": 1}},
            {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "a\ufffd"}}, "contentBlockIndex": 1}},
        ),
        (
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t\ud83d", "name": "a"}}}},
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t\ufffd", "name": "a"}}}},
        ),
        ({"contentBlockDelta": {"delta": {"text": "né"}}}, {"contentBlockDelta": {"delta": {"text": "né"}}}),
    ],
)
def test_half_of_a_character_that_a_model_streams_is_replaced(chunk: Any, mended_chunk: Any) -> None:
    assert through_the_gate(chunk, STOP) == [mended_chunk, STOP]


def test_tool_input_that_escapes_half_of_a_character_is_whole_in_the_message() -> None:
    call = {"toolUse": {"toolUseId": "t", "name": "a", "input": json.loads('{"\\ud83d": "\\ud83d", "n": [1]}')}}
    message = model_message({"role": "assistant", "content": [call]})
    assert message.get("content") == [
        {"toolUse": {"toolUseId": "t", "name": "a", "input": {"\ufffd": "\ufffd", "n": [1]}}}
    ]
