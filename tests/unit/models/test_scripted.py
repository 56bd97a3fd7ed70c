"""ScriptedModel: plays what it was given, records what it was asked."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.converse import Chunk, Message, Messages, ToolSpec
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models.model import Model

pytestmark = pytest.mark.anyio

HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]
ADD: ToolSpec = {"name": "add", "description": "Adds", "inputSchema": {"json": {}}}


async def play(model: ScriptedModel, messages: Messages = HELLO, **kwargs: Any) -> list[Chunk]:
    return [chunk async for chunk in model.stream(messages, **kwargs)]


def assembled(chunks: list[Chunk]) -> tuple[Message, str]:
    assembler = MessageAssembler()
    for chunk in chunks:
        assembler.feed(chunk)
    return assembler.message(), assembler.stop_reason


def test_it_is_a_model() -> None:
    assert isinstance(ScriptedModel([]), Model)


async def test_text_is_streamed_word_by_word_with_fixed_usage() -> None:
    chunks = await play(ScriptedModel(["Hello big world"]))
    assert chunks == [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"start": {}}},
        {"contentBlockDelta": {"delta": {"text": "Hello"}}},
        {"contentBlockDelta": {"delta": {"text": " big"}}},
        {"contentBlockDelta": {"delta": {"text": " world"}}},
        {"contentBlockStop": {}},
        {"messageStop": {"stopReason": "end_turn"}},
        {
            "metadata": {
                "usage": {"inputTokens": 10, "outputTokens": 3, "totalTokens": 13},
                "metrics": {"latencyMs": 0},
            }
        },
    ]


@settings(deadline=None)
@given(st.text())
def test_the_words_of_any_text_joined_are_the_text(text: str) -> None:
    assembler = MessageAssembler()
    for chunk in text_call(text):
        assembler.feed(chunk)
    assert assembler.text == text


async def test_scripts_are_played_in_order_whatever_their_form() -> None:
    def count(messages: Messages) -> str:
        return f"{len(messages)} message"

    model = ScriptedModel(["one", text_call("two"), ScriptedCall(text_call("three")), count])
    texts = [assembled(await play(model))[0].get("content") for _ in range(4)]
    assert texts == [[{"text": "one"}], [{"text": "two"}], [{"text": "three"}], [{"text": "1 message"}]]


async def test_a_tool_call_assembles_to_its_input_after_its_text() -> None:
    message, stop_reason = assembled(tool_call("add", {"a": 1, "b": [2]}, "call-7", text="Let me see."))
    assert message.get("content") == [
        {"text": "Let me see."},
        {"toolUse": {"toolUseId": "call-7", "name": "add", "input": {"a": 1, "b": [2]}}},
    ]
    assert stop_reason == "tool_use"


async def test_a_scripted_error_comes_after_its_chunks() -> None:
    chunks: list[Chunk] = []
    model = ScriptedModel([ScriptedCall(text_call("half")[:3], RuntimeError("line cut"))])
    stream = model.stream(HELLO)
    for _ in range(3):
        chunks.append(await anext(stream))  # noqa: PERF401 - the stream must not end before
    assert chunks == text_call("half")[:3]
    with pytest.raises(RuntimeError, match="line cut"):
        await anext(stream)


async def test_a_call_too_many_says_how_many_were_scripted() -> None:
    model = ScriptedModel(["a", "b"])
    await play(model)
    await play(model)
    with pytest.raises(ValueError, match="model call 3 has no script: 2 were given"):
        await play(model)


async def test_repeat_starts_over() -> None:
    model = ScriptedModel(["a", "b"], repeat=True)
    texts = [assembled(await play(model))[0].get("content") for _ in range(5)]
    assert texts == [[{"text": letter}] for letter in "ababa"]


async def test_requests_keep_what_each_call_received_at_the_time() -> None:
    model = ScriptedModel(["a", "b"])
    history: Messages = [{"role": "user", "content": [{"text": "first"}]}]
    await play(model, history, tool_specs=[ADD], system_prompt="S", tool_choice={"any": {}})
    history[0]["content"][0]["text"] = "changed later"  # pyright: ignore[reportTypedDictNotRequiredAccess]
    await play(model, history)
    first, second = model.requests
    assert first.messages == [{"role": "user", "content": [{"text": "first"}]}]
    assert (first.tool_names, first.tool_choice, first.system_prompt) == (["add"], {"any": {}}, "S")
    assert second.messages == [{"role": "user", "content": [{"text": "changed later"}]}]
    assert (second.tool_names, second.tool_choice, second.system_prompt) == ([], None, None)


async def test_delay_paces_every_chunk() -> None:
    started = time.monotonic()
    chunks = await play(ScriptedModel(["a b"], delay=0.005))
    assert time.monotonic() - started >= 0.005 * len(chunks)


@pytest.mark.parametrize("calls", ["hello", text_call("hello")])
def test_a_script_given_without_its_list_is_refused(calls: Any) -> None:
    with pytest.raises(TypeError, match=r"ScriptedModel\(\[script\]\)"):
        ScriptedModel(calls)
