"""Anthropic's events to Converse's chunks: whole, or an error with the server's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.core.faults import is_transient
from playhead.runtime.models.anthropic.events import EventTranslator
from playhead.runtime.models.sse import ServerEvent

__all__: list[str] = []


def event(fields: Any) -> ServerEvent:
    return ServerEvent("", json.dumps(fields))


def opened(block: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(fields: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


STOP = {"type": "content_block_stop", "index": 0}
TEXT = opened({"type": "text", "text": ""})
CALL = opened({"type": "tool_use", "id": "t", "name": "add", "input": {}})


def translated(*events: dict[str, Any]) -> list[Chunk]:
    translator = EventTranslator()
    return [chunk for fields in events for chunk in translator.feed(event(fields))]


def ended(reason: str, *events: dict[str, Any]) -> str:
    last = {"type": "message_delta", "delta": {"stop_reason": reason}}
    return translated(*events, last, {"type": "message_stop"})[-1]["messageStop"]["stopReason"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "content_filtered"),
        ("model_context_window_exceeded", "max_tokens"),
        ("one_to_come", "one_to_come"),
        ("", "end_turn"),
    ],
)
def test_the_stop_reason_says_how_the_message_ended(reason: str, expected: str):
    assert ended(reason, TEXT, STOP) == expected


def test_a_call_is_a_tool_use_whatever_the_stop_reason():
    assert ended("end_turn", CALL, STOP) == ended("tool_use", CALL, STOP) == "tool_use"


def test_content_that_comes_with_the_start_of_a_block_is_not_lost():
    deltas = [
        chunk["contentBlockDelta"]["delta"]
        for chunk in translated(
            *(opened({"type": "text", "text": "Hi"}), STOP),
            *(opened({"type": "thinking", "thinking": "Hm", "signature": "c2ln"}), STOP),
            *(opened({"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}}), STOP),
        )
        if "contentBlockDelta" in chunk
    ]
    assert deltas == [
        {"text": "Hi"},
        {"reasoningContent": {"text": "Hm"}},
        {"reasoningContent": {"signature": "c2ln"}},
        {"toolUse": {"input": '{"a": 1}'}},
    ]


def test_input_that_is_repeated_by_deltas_counts_once():
    start = opened({"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}})
    chunks = translated(start, delta({"type": "input_json_delta", "partial_json": '{"a": 1}'}), STOP)
    assert chunks[1:] == [
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a": 1}'}}}},
        {"contentBlockStop": {}},
    ]


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ({"type": "char_location", "document_index": 1, "start_char_index": 2, "end_char_index": 3}, "documentChar"),
        ({"type": "page_location", "document_index": 1, "start_page_number": 2, "end_page_number": 3}, "documentPage"),
        (
            {"type": "content_block_location", "document_index": 1, "start_block_index": 2, "end_block_index": 3},
            "documentChunk",
        ),
    ],
)
def test_a_citation_says_where_its_text_stands(given: dict[str, Any], location: str):
    cited = {**given, "cited_text": "words", "document_title": "A"}
    (chunk,) = translated(TEXT, delta({"type": "citations_delta", "citation": cited}))[1:]
    assert chunk["contentBlockDelta"]["delta"]["citation"] == {
        "title": "A",
        "sourceContent": [{"text": "words"}],
        "location": {location: {"documentIndex": 1, "start": 2, "end": 3}},
    }


def test_events_of_an_unknown_type_are_passed_over():
    assert translated({"type": "ping"}, {"type": "one_to_come", "x": 1}, {}) == []


@pytest.mark.parametrize(
    "events",
    [
        [opened({"type": "server_tool_use", "id": "s", "name": "web_search"})],
        [TEXT, delta({"type": "delta_to_come", "words": "x"})],
        [TEXT, delta({"type": "text_delta", "text": "x"}, index=1)],
        [delta({"type": "text_delta", "text": "x"})],
        [TEXT, opened({"type": "text", "text": ""}, index=1)],
        [TEXT, {"type": "message_stop"}],
        [STOP],
        [opened({"type": "redacted_thinking", "data": "not base64!"})],
        [{"type": "message_delta", "delta": {"stop_reason": "pause_turn"}}, {"type": "message_stop"}],
    ],
    ids=repr,
)
def test_what_is_not_understood_fails_the_call_and_is_named(events: list[dict[str, Any]]):
    with pytest.raises(ModelResponseError, match="the server sent") as caught:
        translated(*events)
    assert not is_transient(caught.value)


@pytest.mark.parametrize("data", ["{not json", "[1]", '"text"'])
def test_an_event_that_is_not_an_object_fails_the_call(data: str):
    with pytest.raises(ModelResponseError, match="the server sent"):
        EventTranslator().feed(ServerEvent("content_block_delta", data))


def test_an_error_that_is_not_json_fails_the_call_with_its_words():
    with pytest.raises(ModelResponseError, match="no servers left"):
        EventTranslator().feed(ServerEvent("error", "no servers left"))
