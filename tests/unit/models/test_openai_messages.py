"""Converse-shaped conversations as OpenAI's Chat Completions API takes them."""

from __future__ import annotations

import base64

import pytest

from playhead.runtime.core.converse import ContentBlock, Message, ToolChoice, ToolSpec
from playhead.runtime.models.openai.messages import chat_messages, chat_request

ADD: ToolSpec = {"name": "add", "description": "Adds", "inputSchema": {"json": {"type": "object"}}}
PNG = b"\x89PNG"
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
IMAGE: ContentBlock = {"image": {"format": "png", "source": {"bytes": PNG}}}


def user(*content: ContentBlock) -> Message:
    return {"role": "user", "content": list(content)}


def assistant(*content: ContentBlock) -> Message:
    return {"role": "assistant", "content": list(content)}


def use(tool_use_id: str, **tool_input: object) -> ContentBlock:
    return {"toolUse": {"toolUseId": tool_use_id, "name": "add", "input": tool_input}}


def result(tool_use_id: str, *content: ContentBlock) -> ContentBlock:
    return {"toolResult": {"toolUseId": tool_use_id, "status": "success", "content": list(content)}}


def test_a_system_prompt_comes_first_and_text_is_a_plain_string() -> None:
    assert chat_messages([user({"text": "a"}, {"text": "b"})], "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb"},
    ]


def test_images_and_documents_are_data_urls() -> None:
    document: ContentBlock = {"document": {"format": "pdf", "name": "report", "source": {"bytes": b"%PDF"}}}
    pdf_url = f"data:application/pdf;base64,{base64.b64encode(b'%PDF').decode()}"
    assert chat_messages([user({"text": "see"}, IMAGE, document)]) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": PNG_URL}},
                {"type": "file", "file": {"filename": "report", "file_data": pdf_url}},
            ],
        }
    ]


def test_tool_calls_and_their_results_are_paired_before_what_the_user_adds() -> None:
    history = [
        assistant({"text": "Let me."}, use("t1", a=1), use("t2", b="\u00e9")),
        user({"text": "and hurry"}, result("t1", {"json": {"sum": 2}}), result("t2", {"text": "x"}, {"text": "y"})),
    ]
    assert chat_messages(history) == [
        {
            "role": "assistant",
            "content": "Let me.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "t2", "type": "function", "function": {"name": "add", "arguments": '{"b": "\u00e9"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": '{"sum": 2}'},
        {"role": "tool", "tool_call_id": "t2", "content": "x\ny"},
        {"role": "user", "content": "and hurry"},
    ]


def test_an_image_in_a_tool_result_moves_to_a_user_message_after_all_results() -> None:
    history = [user(result("t1", {"text": "shot"}, IMAGE), result("t2", {"text": "ok"}))]
    first, second, between, moved = chat_messages(history)
    assert (first["role"], first["tool_call_id"]) == ("tool", "t1")
    assert first["content"].startswith("shot\n")
    assert second == {"role": "tool", "tool_call_id": "t2", "content": "ok"}
    assert between == {"role": "assistant", "content": "[no reply]"}
    assert moved == {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG_URL}}]}


def test_an_image_in_a_tool_result_and_the_next_prompt_are_not_two_user_messages_in_a_row() -> None:
    results = [result("t1", {"text": "shot"}, IMAGE), result("t2", {"text": "ok"})]
    asked = [user({"text": "look"}), assistant(use("t1"), use("t2"))]
    for history in ([*asked, user(*results), user({"text": "and?"})], [*asked, user(*results, {"text": "and?"})]):
        sent = chat_request(history)["messages"]
        roles = ["user", "assistant", "tool", "tool", "assistant", "user", "assistant", "user"]
        assert [message["role"] for message in sent] == roles
        assert (sent[5]["content"][0]["type"], sent[7]["content"]) == ("image_url", "and?")
    *_, last = chat_messages([user(*results, {"text": "and?"})])
    assert [part["type"] for part in last["content"]] == ["image_url", "text"]


def test_reasoning_and_cache_points_are_not_sent_and_leave_no_empty_message() -> None:
    thought: ContentBlock = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    cache: ContentBlock = {"cachePoint": {"type": "default"}}
    assert chat_messages([user({"text": "q"}, cache), assistant(thought), assistant(thought, use("t"))]) == [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        },
    ]


def test_text_with_citations_is_sent_as_its_text() -> None:
    cited: ContentBlock = {"citationsContent": {"citations": [{}], "content": [{"text": "so "}, {"text": "said"}]}}
    assert chat_messages([assistant(cited)]) == [{"role": "assistant", "content": "so said"}]


def test_without_tools_neither_tools_nor_choice_are_sent() -> None:
    assert chat_request([user({"text": "q"})], [], tool_choice={"any": {}}).keys() == {"messages"}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"auto": {}}, "auto"),
        ({"any": {}}, "required"),
        ({"tool": {"name": "add"}}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_tool_choice_is_mapped(choice: ToolChoice, sent: object) -> None:
    request = chat_request([user({"text": "q"})], [ADD], tool_choice=choice)
    assert request["tool_choice"] == sent
    assert request["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {"type": "object"}}}
    ]
