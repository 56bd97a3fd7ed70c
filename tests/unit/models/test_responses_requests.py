"""A request of OpenAI's Responses API can be built from any history."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.models.openai.responses.request import responses_request

__all__: list[str] = []

KEPT: dict[str, Any] = {"provider": "p", "item": {"type": "reasoning", "id": "rs", "encrypted_content": "x"}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm"}, "providerFields": KEPT}}


def items(*content: Any, role: str = "assistant", **options: Any) -> list[dict[str, Any]]:
    before = [] if role == "user" else [{"role": "user", "content": [{"text": "hello"}]}]
    messages: Any = [*before, {"role": role, "content": list(content)}]
    return responses_request(messages, provider="p", **options)["input"][len(before) :]


def test_a_result_that_is_an_error_says_so():
    call = {"toolUse": {"toolUseId": "c", "name": "add", "input": 5}}
    result = {"toolResult": {"toolUseId": "c", "status": "error", "content": [{"text": "no"}]}}
    messages: Any = [
        {"role": "user", "content": [{"text": "hello"}]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    called, resulted = responses_request(messages)["input"][1:]
    assert called == {"type": "function_call", "call_id": "c", "name": "add", "arguments": '{"input": 5}'}
    assert resulted == {"type": "function_call_output", "call_id": "c", "output": "Error:\nno"}


def test_reasoning_of_a_message_without_calls_goes_back_only_if_all_does():
    said = {"role": "assistant", "content": "Hi"}
    assert items(THOUGHT, {"text": "Hi"}) == [said]
    assert items(THOUGHT, {"text": "Hi"}, send_back="all") == [KEPT["item"], said]


def test_an_item_that_only_the_servers_store_could_complete_is_not_sent():
    bare = {"provider": "p", "item": {"type": "reasoning", "id": "rs", "summary": []}}
    block = {"reasoningContent": {"reasoningText": {"text": "Hm"}, "providerFields": bare}}
    assert items(block, {"text": "Hi"}, send_back="all") == [{"role": "assistant", "content": "Hi"}]


def test_a_block_that_cannot_be_sent_is_told_as_text():
    (sent,) = items({"video": {"format": "mp4"}}, role="user")
    assert "A block of video was here" in sent["content"][0]["text"]
    (said,) = items({"image": {"format": "png", "source": {"bytes": b"x"}}})
    assert "which a message of the assistant cannot hold" in said["content"]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["text", "json", "image", "document", "toolUse", "toolResult", "reasoningContent", "cachePoint", "guardContent"]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant"]),
            "content": st.lists(st.dictionaries(KINDS, VALUES, max_size=2), max_size=3),
        }
    ),
    max_size=4,
)


@given(MESSAGES, st.sampled_from(["calls", "all", "nothing"]))
def test_any_history_gives_a_request_that_can_be_sent(messages: Any, send_back: Any):
    request = responses_request(messages, provider="p", send_back=send_back)
    assert json.loads(json.dumps(request, allow_nan=False)) == request
