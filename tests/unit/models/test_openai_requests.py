"""A request can be built from any stored history: what a provider cannot take becomes a sentence that says so."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.converse import Message
from playhead.runtime.models.openai.messages import SendBack, chat_messages, chat_request
from tests.unit.models.openai_streams import DONE, PROVIDER, call, delta, event, read

__all__: list[str] = []

PNG: dict[str, Any] = {"image": {"format": "png", "source": {"bytes": b"1"}}}


def message(role: Any, *content: Any) -> Message:
    return cast("Message", {"role": role, "content": list(content)})


def user(*content: Any) -> Message:
    return message("user", *content)


def result(*content: Any, status: str = "success") -> dict[str, Any]:
    return {"toolResult": {"toolUseId": "t1", "status": status, "content": list(content)}}


SENTENCES: list[tuple[Any, str]] = [
    ({"video": {"format": "mp4", "source": {"bytes": b"1"}}}, "A block of video"),
    ({"audio": {"format": "mp3", "source": {"bytes": b"1"}}}, "A block of audio"),
    ({"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}, "A block of type/data/mimeType"),
    ({"image": {"format": "png", "source": {"location": {"uri": "s3://b/k"}}}}, "by its location"),
    ({"image": {"format": "png", "source": {"bytes": b""}}}, "without any bytes"),
    ({"image": {"format": "png", "source": {"bytes": "text"}}}, "without any bytes"),
    ({"image": {"format": "tiff", "source": {"bytes": b"1"}}}, "An image (tiff)"),
    ({"image": None}, "An image was here"),
    ({"document": {"name": "plan", "format": "odt", "source": {"bytes": b"1"}}}, "The document 'plan' (odt)"),
    ({"document": {"name": "plan", "source": {"s3Location": {"uri": "s3://b/k"}}}}, "by its location"),
    ({}, "An empty block"),
    ({"hologram": {}}, "A block of hologram"),
    (7, "7"),
    ({"text": 42}, "42"),
    ({"text": "half \ud83d"}, "half \ufffd"),
    ({"json": {"x": b"12"}}, '{"x": {"__bytes_encoded__": true, "data": "MTI="}}'),
    ({"json": {"x": math.nan, "y": math.inf}}, '{"x": "NaN", "y": "Infinity"}'),
    ({"json": {"x": {1}, "y": -math.inf}}, '{"x": [1], "y": "-Infinity"}'),
    ({"guardContent": {"text": {"text": "kept"}}}, "kept"),
    ({"citationsContent": {"content": [{"text": "so "}, {"text": "said"}, {}]}}, "so said"),
    ({"document": {"name": "plan", "source": {"text": "do it"}}}, "plan:\ndo it"),
]


@pytest.mark.parametrize(("block", "words"), SENTENCES)
@pytest.mark.parametrize("place", ["user", "assistant", "result"])
def test_a_block_that_cannot_be_sent_is_told_as_text(block: Any, words: str, place: str) -> None:
    (sent,) = chat_messages([user(result(block)) if place == "result" else message(place, block)])
    assert sent["role"] == ("tool" if place == "result" else place)
    assert isinstance(sent["content"], str)
    assert words in sent["content"]


def test_an_image_of_the_assistant_is_told_as_text_because_its_messages_hold_text_only() -> None:
    (sent,) = chat_messages([message("assistant", {"text": "Here:"}, PNG)])
    assert sent["content"].startswith("Here:\n[An image (png) was here")


@pytest.mark.parametrize(
    "block", [{"cachePoint": {"type": "default"}}, {"reasoningContent": {"redactedContent": b"1"}}]
)
def test_what_holds_nothing_for_a_model_is_left_out(block: Any) -> None:
    assert chat_messages([user({"text": "q"}, block)]) == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("name", "mime"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("gif", "image/gif"), ("webp", "image/webp")]
)
def test_images_have_the_media_types_that_servers_accept(name: str, mime: str) -> None:
    (sent,) = chat_messages([user({"image": {"format": name, "source": {"bytes": b"1"}}})])
    assert sent["content"][0]["image_url"]["url"] == f"data:{mime};base64,MQ=="


@pytest.mark.parametrize("name", ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"])
def test_documents_of_every_format_of_converse_have_a_media_type(name: str) -> None:
    (sent,) = chat_messages([user({"document": {"format": name, "name": "d", "source": {"bytes": b"1"}}})])
    assert sent["content"][0]["file"]["file_data"].endswith(";base64,MQ==")
    assert "octet-stream" not in sent["content"][0]["file"]["file_data"]


def test_bytes_in_the_form_that_they_have_in_json_are_read() -> None:
    encoded = {"__bytes_encoded__": True, "data": base64.b64encode(b"1").decode()}
    assert chat_messages([user({"image": {"format": "png", "source": {"bytes": encoded}}})]) == chat_messages(
        [user(PNG)]
    )


def test_a_result_that_is_an_error_says_so() -> None:
    failed, told, fine = (
        chat_messages([user(result({"text": text}, status=status))])[0]["content"]
        for text, status in (("no disk", "error"), ("Error: no disk", "error"), ("no disk", "success"))
    )
    assert (failed, told, fine) == ("Error:\nno disk", "Error: no disk", "no disk")


@pytest.mark.parametrize(
    ("given", "arguments"),
    [({"a": 1}, '{"a": 1}'), ({}, "{}"), (None, "{}"), ([1], '{"input": [1]}'), ("x", '{"input": "x"}')],
)
def test_the_arguments_of_a_call_are_an_object_whatever_the_model_sent(given: Any, arguments: str) -> None:
    (sent,) = chat_messages([message("assistant", {"toolUse": {"toolUseId": "t", "name": "add", "input": given}})])
    assert sent["tool_calls"][0]["function"]["arguments"] == arguments


def test_messages_in_the_openai_form_are_read() -> None:
    assert chat_messages([cast("Message", {"role": "user", "content": "hello"})]) == [
        {"role": "user", "content": "hello"}
    ]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=4)
    | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [
        "text",
        "json",
        "image",
        "document",
        "video",
        "toolUse",
        "toolResult",
        "reasoningContent",
        "reasoningText",
        "citationsContent",
        "guardContent",
        "cachePoint",
        "source",
        "bytes",
        "content",
        "providerFields",
        "provider",
        "fields",
        "function",
        "details",
        "input",
        "odd",
    ]
)
BLOCK = st.recursive(
    st.dictionaries(KINDS, ANYTHING, max_size=2),
    lambda inner: st.dictionaries(KINDS, inner | st.lists(inner, max_size=2), max_size=2),
    max_leaves=4,
)
ROLE = st.sampled_from(["user", "assistant", "system", "tool", None])


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(
        st.fixed_dictionaries({"role": ROLE, "content": st.lists(BLOCK | ANYTHING, max_size=3) | ANYTHING}), max_size=3
    ),
    st.sampled_from(["calls", "all", "nothing"]),
)
def test_any_history_gives_a_request_that_can_be_sent(history: list[Any], send_back: SendBack) -> None:
    request = chat_request(history, system_prompt="half \ud83d", provider=PROVIDER, send_back=send_back)
    json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    assert all(isinstance(sent["role"], str) for sent in request["messages"])


SIGNED = {"google": {"thought_signature": "sig"}}


def thoughtful() -> Message:
    """A message with reasoning and a signed call, as it is stored."""
    details = [{"type": "reasoning.text", "text": piece, "index": 0, "signature": None} for piece in ("h", "m")]
    events = [delta(reasoning="hm"[at], reasoning_details=[details[at]]) for at in range(2)]
    signed = call("look", "{}", id="a", extra_content=SIGNED)
    signed["choices"][0]["delta"]["tool_calls"][0]["function"]["signature"] = "inner"
    return read(*events, signed, event(finish="tool_calls"), DONE).message


def sent_back(stored: Message, *, provider: str = PROVIDER, send_back: SendBack = "calls") -> dict[str, Any]:
    (sent,) = chat_messages([stored], provider=provider, send_back=send_back)
    return sent


def test_a_provider_gets_back_its_reasoning_and_its_fields_of_calls() -> None:
    sent = sent_back(thoughtful())
    assert sent["reasoning"] == "hm"
    assert sent["reasoning_details"] == [{"type": "reasoning.text", "text": "hm", "index": 0, "signature": None}]
    (use,) = sent["tool_calls"]
    assert use["extra_content"] == SIGNED
    assert use["function"] == {"name": "look", "arguments": "{}", "signature": "inner"}


@pytest.mark.parametrize(("provider", "send_back"), [("api.other.com", "all"), (PROVIDER, "nothing")])
def test_no_other_provider_gets_them(provider: str, send_back: SendBack) -> None:
    sent = sent_back(thoughtful(), provider=provider, send_back=send_back)
    assert sent.keys() == {"role", "tool_calls"}
    assert sent["tool_calls"] == [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text", "thinking"])
def test_reasoning_goes_back_under_the_name_that_the_provider_used(field: str) -> None:
    stored = read(delta(**{field: "hm"}), call("look", "{}", id="a"), event(finish="tool_calls"), DONE).message
    assert {key for key in sent_back(stored) if key not in ("role", "tool_calls")} == {field}


def test_reasoning_in_parts_goes_back_in_parts() -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    stored = read(delta(content=thought), call("look", "{}", id="a"), event(finish="tool_calls"), DONE).message
    assert sent_back(stored)["content"] == thought


def test_sealed_reasoning_without_text_goes_back() -> None:
    sealed = {"type": "reasoning.encrypted", "data": "x"}
    stored = read(delta(reasoning_details=[sealed]), call("look", "{}", id="a"), event(finish="stop"), DONE).message
    assert sent_back(stored)["reasoning_details"] == [sealed]


def test_the_reasoning_of_a_message_without_calls_goes_back_only_if_all_does() -> None:
    stored = read(delta(reasoning_content="hm"), delta(content="Hi"), event(finish="stop"), DONE).message
    assert sent_back(stored) == {"role": "assistant", "content": "Hi"}
    assert sent_back(stored, send_back="all") == {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}


def test_a_character_of_the_reasoning_that_was_cut_in_two_goes_back_whole() -> None:
    halves = [
        delta(reasoning_details=[{"type": "reasoning.text", "text": text, "index": 0}])
        for text in ("a\ud83d", "\ude00b", "c\ud83d")
    ]
    stored = read(*halves, call("look", "{}", id="a"), event(finish="tool_calls"), DONE).message
    assert sent_back(stored)["reasoning_details"][0]["text"] == "a\U0001f600bc\ufffd"
