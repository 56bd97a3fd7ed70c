"""Items of models that are not in the form of the Converse API."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.events import Projection
from playhead.runtime.core.foreign_chunks import as_chunk, foreign_text, of_chunk
from playhead.runtime.core.records import Entry, ModelChunk, ModelRetried, ModelStarted, RunSubmitted

__all__: list[str] = []


@pytest.mark.parametrize(
    "item",
    [
        "text",
        {"choices": [{"index": 0, "delta": {"content": "text", "role": None}}]},
        {"type": "response.output_text.delta", "delta": "text"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "text"}},
        {"event_kind": "part_start", "index": 0, "part": {"part_kind": "text", "content": "text"}},
        {"event_kind": "part_delta", "index": 0, "delta": {"part_delta_kind": "text", "content_delta": "text"}},
        {"type": "AIMessageChunk", "content": "text"},
        {"type": "ai", "content": [{"type": "text", "text": "te"}, {"type": "image"}, {"type": "text", "text": "xt"}]},
        {
            "output": [
                {"type": "function_call"},
                {"type": "message", "content": [{"type": "output_text", "text": "text"}]},
            ],
            "response_id": None,
        },
    ],
)
def test_the_text_of_the_usual_libraries_is_found(item: Any) -> None:
    assert foreign_text(item) == "text"


@pytest.mark.parametrize("item", [{}, None, 3, ["text"], {"choices": []}, {"delta": {"text": "x"}}, {"type": "other"}])
def test_anything_else_has_no_text(item: Any) -> None:
    assert foreign_text(item) == ""


@pytest.mark.parametrize("item", ["text", None, {"metadata": None}, {"messageStart": {}, "x": 1}, {"item": 1}, [1]])
def test_an_item_that_only_looks_like_a_chunk_is_kept_apart_from_them(item: Any) -> None:
    assert as_chunk(item) == {"item": item}
    assert of_chunk(as_chunk(item)) == item


def test_a_chunk_of_the_converse_api_is_stored_as_it_is() -> None:
    chunk = {"contentBlockDelta": {"delta": {"text": "x"}}}
    assert as_chunk(chunk) is chunk
    assert of_chunk(chunk) is chunk


def test_readers_see_the_item_and_its_text_and_what_is_withdrawn() -> None:
    projection, seen = Projection("r"), list[Any]()
    records = [
        RunSubmitted(at=0, agent="a", invocation_state={"data": "of the caller", "user": "ada"}),
        ModelStarted(at=0, lane="/model:1"),
        ModelChunk(at=0, chunk=as_chunk({"metadata": None})),
        ModelChunk(at=0, chunk=as_chunk("half ")),
        ModelRetried(at=0, supersedes=(2, 4)),
    ]
    for seq, record in enumerate(records, 1):
        seen += map(dict, projection.feed(Entry(seq, 1, record)))
    assert seen[:2] == [{"event": {"metadata": None}}, {"event": "half "}]
    assert seen[2] == {"data": "of the caller", "delta": {"text": "half "}, "user": "ada"}
    assert seen[3] == {"retracted": True, "from_seq": 2, "to_seq": 4, "text": "half "}
