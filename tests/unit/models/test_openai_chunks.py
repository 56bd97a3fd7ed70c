"""Streamed chat completions to Converse-shaped chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.models.openai.chunks import ChunkTranslator


def event(finish: str | None = None, usage: dict[str, Any] | None = None, **delta: Any) -> dict[str, Any]:
    """An event of a stream, as JSON holds it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def call(index: int | None, call_id: str | None = None, name: str | None = None, arguments: str | None = None) -> Any:
    return event(tool_calls=[{"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}])


def translated(*events: Any) -> list[Chunk]:
    translator = ChunkTranslator()
    chunks = [chunk for each in events for chunk in translator.feed(each)]
    assert translator.finished
    return [*chunks, *translator.finish()]


def content(chunks: list[Chunk]) -> list[dict[str, Any]]:
    """The assembled content; asserts that blocks are whole and never overlap."""
    assembler = MessageAssembler()
    is_open = False
    for chunk in chunks:
        assert is_open is ("contentBlockDelta" in chunk or "contentBlockStop" in chunk)
        if "contentBlockStart" in chunk or "contentBlockStop" in chunk:
            is_open = not is_open
        assembler.feed(chunk)
    return assembler.message().get("content", [])


def uses(chunks: list[Chunk]) -> list[tuple[str, Any]]:
    return [(block["toolUse"]["toolUseId"], block["toolUse"]["input"]) for block in content(chunks)]


VALUES = st.integers() | st.text(max_size=5) | st.dictionaries(st.text(), st.none())
INPUTS = st.dictionaries(st.text(max_size=3), VALUES)


@settings(deadline=None)
@given(st.lists(INPUTS, min_size=1, max_size=4), st.data())
def test_any_interleaving_of_tool_calls_comes_out_whole_and_in_order(
    inputs: list[dict[str, Any]], data: st.DataObject
) -> None:
    waiting = {index: json.dumps(value) for index, value in enumerate(inputs)}
    events = [call(index, f"t{index}", "tool") for index in waiting]
    while waiting:
        index = data.draw(st.sampled_from(sorted(waiting)))
        size = data.draw(st.integers(1, len(waiting[index])))
        events.append(call(index, arguments=waiting[index][:size]))
        waiting[index] = waiting[index][size:]
        if not waiting[index]:
            del waiting[index]
    chunks = translated(*events, event("tool_calls"))
    assert uses(chunks) == [(f"t{index}", value) for index, value in enumerate(inputs)]


def test_calls_one_after_the_other_are_not_held_back() -> None:
    translator = ChunkTranslator()
    translator.feed(call(0, "a", "tool", '{"n": 1}'))
    assert translator.feed(call(1, "b", "tool", '{"x"')) == [
        {"contentBlockStop": {}},
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "b", "name": "tool"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"x"'}}}},
    ]


@pytest.mark.parametrize("index", [0, None])
def test_calls_that_share_an_index_are_told_apart_by_id(index: int | None) -> None:
    first, second = call(index, "a", "tool", '{"n": 1}'), call(index, "b", "tool", '{"n": 2}')
    assert uses(translated(first, second, event("stop"))) == [("a", {"n": 1}), ("b", {"n": 2})]


def test_a_call_without_id_gets_one_of_its_own() -> None:
    chunks = translated(call(0, None, "tool", "{}"), call(1, None, "tool", "{}"), event("tool_calls"))
    (first, _), (second, _) = uses(chunks)
    assert first
    assert first != second


def test_a_call_without_arguments_is_an_empty_input() -> None:
    assert uses(translated(call(0, "a", "tool"), event("tool_calls"))) == [("a", {})]


def test_reasoning_and_text_are_blocks_of_their_own_in_the_order_they_came() -> None:
    chunks = translated(
        event(reasoning_content="hm"), event(reasoning=" hm"), event(content="so"), event(content="!"), event("stop")
    )
    assert content(chunks) == [{"reasoningContent": {"reasoningText": {"text": "hm hm"}}}, {"text": "so!"}]


def test_text_after_an_unfinished_tool_call_waits_for_it() -> None:
    chunks = translated(
        event(content="a"), call(0, "t", "tool", "{"), event(content="b"), call(0, arguments="}"), event("tool_calls")
    )
    assert [next(iter(block)) for block in content(chunks)] == ["text", "toolUse", "text"]


def test_a_refusal_is_told_as_text() -> None:
    assert content(translated(event(refusal="No."), event("stop"))) == [{"text": "No."}]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "content_filtered"),
        ("tool_calls", "end_turn"),
        ("something_new", "something_new"),
    ],
)
def test_finish_reasons_are_mapped_and_tool_use_needs_a_call(finish: str, reason: str) -> None:
    assert translated(event(content="x"), event(finish))[-1] == {"messageStop": {"stopReason": reason}}


@pytest.mark.parametrize(
    ("finish", "reason"), [("stop", "tool_use"), ("tool_calls", "tool_use"), ("length", "max_tokens")]
)
def test_with_a_call_stop_means_tool_use(finish: str, reason: str) -> None:
    chunks = translated(call(0, "a", "tool", '{"x'), event(finish))
    assert chunks[-2:] == [{"contentBlockStop": {}}, {"messageStop": {"stopReason": reason}}]


def test_without_a_finish_reason_it_is_not_finished() -> None:
    translator = ChunkTranslator()
    translator.feed(event(content="half"))
    assert not translator.finished


def test_usage_is_the_last_reported_and_zero_if_none_was() -> None:
    translator = ChunkTranslator()
    zero = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    assert translator.metadata(5) == {"metadata": {"usage": zero, "metrics": {"latencyMs": 5}}}
    translator.feed(event(content="x", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}))
    translator.feed(event("stop", usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}))
    assert translator.metadata(5)["metadata"]["usage"] == {"inputTokens": 3, "outputTokens": 4, "totalTokens": 9}


@pytest.mark.parametrize("odd", [None, {}, {"choices": None}, {"choices": []}, {"type": "ping"}])
def test_events_without_a_choice_are_passed_over(odd: Any) -> None:
    assert ChunkTranslator().feed(odd) == []
