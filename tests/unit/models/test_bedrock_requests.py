"""A request of Bedrock's ConverseStream can be built from any history, and keeps to what the API accepts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.models.bedrock.events import ChunkReader
from playhead.runtime.models.bedrock.request import converse_request

__all__: list[str] = []

CLAUDE, NOVA = "anthropic.claude-x-v1:0", "amazon.nova-lite-v1:0"
HELLO: dict[str, Any] = {"role": "user", "content": [{"text": "hello"}]}


def sent(*content: Any, role: str = "user", model_id: str = CLAUDE) -> list[dict[str, Any]]:
    before = [] if role == "user" else [HELLO]
    messages: Any = [*before, {"role": role, "content": list(content)}]
    return converse_request(model_id, messages)["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"image": {"format": "png", "source": {"location": {"type": "web", "uri": "https://a"}}}}, "by its location"),
        ({"video": {"format": "mp4", "source": {}}}, "A block of video"),
        ({"image": {"format": "png", "source": {}}}, "without any bytes"),
        ({}, "An empty block"),
    ],
)
def test_a_block_that_cannot_be_sent_is_told_as_text(block: dict[str, Any], words: str):
    (made,) = sent(block)
    assert words in made["text"]


def test_the_api_refuses_blank_text_so_none_is_sent():
    assert sent({"text": " \n"}) == [{"text": "[blank text]"}]


def test_the_name_of_a_document_is_made_acceptable():
    document = {"format": "pdf", "name": "Q3_report  (final).pdf", "source": {"bytes": b"%PDF"}}
    assert sent({"document": document})[0]["document"]["name"] == "Q3-report (final)-pdf"


def test_fields_that_the_api_does_not_know_are_not_sent():
    call = {"toolUseId": "call:1/é", "name": "add", "input": {"a": 1}, "providerFields": {"provider": "p"}}
    result = {"toolUseId": "call:1/é", "status": "success", "content": [{"json": {"a": 1}}], "more": 1}
    messages: Any = [HELLO, {"role": "assistant", "content": [{"toolUse": call}]}]
    messages.append({"role": "user", "content": [{"toolResult": result}]})
    for model_id, content, status in (
        (CLAUDE, {"json": {"a": 1}}, {"status": "success"}),
        (NOVA, {"text": '{"a": 1}'}, {}),
    ):
        called, resulted = converse_request(model_id, messages)["messages"][1:]
        assert called["content"] == [{"toolUse": {"toolUseId": "call:1__", "name": "add", "input": {"a": 1}}}]
        assert resulted["content"] == [{"toolResult": {"toolUseId": "call:1__", "content": [content], **status}}]


def test_reasoning_is_sent_only_to_claude_and_only_if_it_is_signed():
    signed = {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}}
    unsigned = {"reasoningContent": {"reasoningText": {"text": "Hm"}}}
    said = {"text": "Hi"}
    assert sent(signed, unsigned, said, role="assistant") == [signed, said]
    assert sent(signed, unsigned, said, role="assistant", model_id=NOVA) == [said]


def test_a_full_context_window_in_the_middle_of_a_message_is_a_limit_of_tokens():
    chunk = ChunkReader().read({"messageStop": {"stopReason": "model_context_window_exceeded"}})
    assert chunk == {"messageStop": {"stopReason": "max_tokens"}}


@pytest.mark.parametrize("event", [{"SDK_UNKNOWN_MEMBER": {"name": "x"}}, {}, {"messageStart": {}, "metadata": {}}])
def test_an_event_of_an_unknown_kind_fails_the_call(event: dict[str, Any]):
    with pytest.raises(ModelResponseError, match="an event of an unknown kind"):
        ChunkReader().read(event)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SOURCES = st.fixed_dictionaries({"format": st.just("png"), "source": st.fixed_dictionaries({"bytes": VALUES})})
KINDS = st.sampled_from(
    ["text", "json", "image", "document", "video", "toolUse", "toolResult", "reasoningContent", "cachePoint"]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant"]),
            "content": st.lists(st.dictionaries(KINDS, VALUES | SOURCES, max_size=2), max_size=3),
        }
    ),
    max_size=4,
)


@functools.cache
def api() -> Any:
    """The SDK's own description of the request."""
    described: Any = create_loader().load_service_model("bedrock-runtime", "service-2")
    return ServiceModel(described).operation_model("ConverseStream").input_shape


@given(MESSAGES, st.sampled_from([CLAUDE, NOVA, "profile"]))
def test_any_history_gives_a_request_that_the_sdk_accepts(messages: Any, model_id: str):
    request = converse_request(model_id, messages)
    assert ParamValidator().validate(request, api()).generate_report() == ""
    assert all(message["content"] for message in request["messages"])
