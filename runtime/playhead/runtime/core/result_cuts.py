"""Shortens the tool results of a message that does not fit the context of a model, as Strands does (1.62). Pure."""

from __future__ import annotations

from typing import Any, Final

from playhead.runtime.core.converse import ContentBlock, Message

__all__ = ["has_results", "with_short_results"]

_KEPT_CHARS: Final = 200  # at the beginning, and at the end
_MARK: Final = "... [truncated:"


def has_results(message: Message) -> bool:
    """Whether the message holds the result of a tool."""
    return any("toolResult" in block for block in message.get("content", []))


def with_short_results(message: Message) -> Message:
    """The message with the first and the last 200 characters of each text in its tool results, and a note of each image.

    It is the same object if nothing in it is too long.
    """
    content = message.get("content", [])
    short = [_short_block(block) for block in content]
    return message if short == content else {**message, "content": short}


def _short_block(block: ContentBlock) -> ContentBlock:
    if "toolResult" not in block:
        return block
    result = block["toolResult"]
    return {**block, "toolResult": {**result, "content": [_short_item(item) for item in result.get("content", [])]}}


def _short_item(item: dict[str, Any]) -> dict[str, Any]:
    if "image" in item:
        image = item["image"]
        data = image.get("source", {}).get("bytes", b"")
        return {"text": f"[image: {image.get('format', 'unknown')}, {len(data) if data else 0} bytes]"}
    text = item.get("text")
    if not isinstance(text, str) or _MARK in text or len(text) <= 2 * _KEPT_CHARS:
        return item
    removed = len(text) - 2 * _KEPT_CHARS
    return {"text": f"{text[:_KEPT_CHARS]}...\n\n{_MARK} {removed} chars removed] ...\n\n...{text[-_KEPT_CHARS:]}"}
