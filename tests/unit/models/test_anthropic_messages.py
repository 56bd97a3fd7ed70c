"""A request of Anthropic's API can be built from any history, and keeps to what the API accepts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.models.anthropic.messages import messages_request

__all__: list[str] = []

PNG = {"format": "png", "source": {"bytes": b"\x89PNG"}}


def sent(*content: Any, role: str = "user") -> list[dict[str, Any]]:
    before = [] if role == "user" else [{"role": "user", "content": [{"text": "hello"}]}]
    messages: Any = [*before, {"role": role, "content": list(content)}]
    return messages_request(messages)["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"video": {"format": "mp4", "source": {"bytes": b"x"}}}, "A block of video"),
        ({"image": {"format": "png", "source": {"location": {"type": "s3", "uri": "s3://a"}}}}, "by its location"),
        ({"image": {"format": "tiff", "source": {"bytes": b"x"}}}, "in a format that this model cannot take"),
        ({"document": {"format": "docx", "name": "a", "source": {"bytes": b"x"}}}, "in a format that this model"),
        ({}, "An empty block"),
    ],
)
def test_a_block_that_cannot_be_sent_is_told_as_text(block: dict[str, Any], words: str):
    (made,) = sent(block)
    assert made["type"] == "text"
    assert words in made["text"]


def test_an_image_of_the_assistant_is_told_as_text():
    assert [block["type"] for block in sent({"image": PNG}, role="assistant")] == ["text"]


def test_the_api_refuses_blank_text_so_none_is_sent():
    assert sent({"text": " \n"}) == [{"type": "text", "text": "[blank text]"}]


def test_an_id_of_another_provider_is_made_acceptable_in_the_call_and_in_its_result():
    call = {"toolUse": {"toolUseId": "functions.add:0", "name": "add", "input": 5}}
    result = {"toolResult": {"toolUseId": "functions.add:0", "status": "success", "content": [{"text": ""}]}}
    messages: Any = [
        {"role": "user", "content": [{"text": "hello"}]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    called, resulted = messages_request(messages)["messages"][1:]
    assert called["content"] == [{"type": "tool_use", "id": "functions_add_0", "name": "add", "input": {"input": 5}}]
    assert resulted["content"] == [
        {"type": "tool_result", "tool_use_id": "functions_add_0", "is_error": False, "content": []}
    ]


def test_the_oldest_cache_points_are_left_out_because_the_api_accepts_four():
    turn: list[dict[str, Any]] = [
        {"role": "user", "content": [{"text": "a"}, {"cachePoint": {"type": "default"}}]},
        {"role": "assistant", "content": [{"text": "b"}]},
    ]
    messages: Any = [*turn * 6, turn[0]]
    request = messages_request(messages, system=[{"text": "A"}, {"cachePoint": {"type": "default"}}])
    marked = ["cache_control" in message["content"][-1] for message in request["messages"]]
    assert marked == [False] * 8 + [True, False, True, False, True]
    assert "cache_control" in request["system"][0]


def test_reasoning_without_a_signature_is_not_sent():
    assert sent({"reasoningContent": {"reasoningText": {"text": "Hm"}}}, {"text": "a"}, role="assistant") == [
        {"type": "text", "text": "a"}
    ]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["text", "json", "image", "document", "toolUse", "toolResult", "reasoningContent", "cachePoint", "guardContent"]
)
BLOCKS = st.dictionaries(KINDS, VALUES, max_size=2)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.lists(BLOCKS, max_size=3)}),
    max_size=4,
)


@given(MESSAGES)
def test_any_history_gives_a_request_that_can_be_sent(messages: Any):
    request = messages_request(messages, cache="5m")
    assert json.loads(json.dumps(request, allow_nan=False)) == request
    for message in request["messages"]:
        assert message["content"]
        for block in message["content"]:
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] != "tool_use" or re.fullmatch("[A-Za-z0-9_-]+", block["id"])
