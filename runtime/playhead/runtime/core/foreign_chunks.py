"""The chunks of models that are not in the form of the Converse API, as hosted guests stream them. Pure.

Such an item is stored as the chunk `{"item": …}`, whatever it is, because its keys may be those of a chunk of the Converse
API with another meaning.
"""

from __future__ import annotations

from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk

__all__ = ["as_chunk", "foreign_text", "of_chunk"]

_ITEM: Final = "item"
_CONVERSE: Final = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
        "redactContent",
    }
)


def as_chunk(item: Any) -> Chunk:
    """The chunk by which an item of a model's stream is stored; `of_chunk` gives the item again."""
    if isinstance(item, dict):
        fields = cast("dict[str, Any]", item)
        if len(fields) == 1 and isinstance(fields.get(next(iter(fields))), dict) and next(iter(fields)) in _CONVERSE:
            return fields
    return {_ITEM: item}


def of_chunk(chunk: Chunk) -> Any:
    """The item of a model's stream that this chunk stores."""
    return chunk[_ITEM] if _ITEM in chunk and len(chunk) == 1 else chunk


def foreign_text(item: Any) -> str:
    """The text that an item adds to the answer, for the forms of the usual libraries; empty if it adds none.

    They are plain text, and the events of OpenAI's chat completions and responses, of Anthropic's messages, of pydantic-ai
    and of LangChain, each as a dict, and a whole answer of the OpenAI Agents SDK.
    """
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        return ""
    fields = cast("dict[str, Any]", item)
    kind = fields.get("type") or fields.get("event_kind")
    match kind, fields:
        case _, {"choices": [{"delta": {"content": str(text)}}, *_]}:
            return text
        case "response.output_text.delta", {"delta": str(text)}:
            return text
        case "content_block_delta", {"delta": {"type": "text_delta", "text": str(text)}}:
            return text
        case "part_start", {"part": {"part_kind": "text", "content": str(text)}}:
            return text
        case "part_delta", {"delta": {"part_delta_kind": "text", "content_delta": str(text)}}:
            return text
        case "AIMessageChunk" | "ai", {"content": str(text)}:
            return text
        case "AIMessageChunk" | "ai", {"content": [*blocks]}:
            return "".join(_block_text(block) for block in cast("list[object]", blocks))
        case None, {"output": [*items], "response_id": _}:
            return "".join(_message_text(one) for one in cast("list[object]", items))
        case _:
            return ""


def _message_text(item: object) -> str:
    """The text of an item of a whole answer of the OpenAI Agents SDK."""
    match item:
        case {"type": "message", "content": [*blocks]}:
            return "".join(_block_text(block) for block in cast("list[object]", blocks))
        case _:
            return ""


def _block_text(block: object) -> str:
    match block:
        case {"type": "text" | "output_text", "text": str(text)}:
            return text
        case _:
            return ""
