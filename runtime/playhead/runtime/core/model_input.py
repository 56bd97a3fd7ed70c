"""The history in the form that model providers take. Pure.

The rules are Strands' (`_normalize_messages`, 1.62): providers refuse blank text, and tool calls under names that a
provider could not have produced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.tool_results import invalid_name

__all__ = ["for_model"]


def for_model(messages: Sequence[Message]) -> Messages:
    """The history for a provider: without bookkeeping, and without blank assistant text, which several refuse."""
    return [{"role": message.get("role", "user"), "content": _sendable(message)} for message in messages]


def _sendable(message: Message) -> list[dict[str, Any]]:
    content = message.get("content", [])
    if message.get("role") != "assistant":
        return list(content)
    kept = [block for block in content if "text" not in block or (block["text"] or "").strip()]
    if any("toolUse" in block for block in content):
        return [_callable(block) for block in kept]
    return kept if len(kept) == len(content) and kept else [_filled(block) for block in content] or [_BLANK]


def _callable(block: dict[str, Any]) -> dict[str, Any]:
    """A tool call with a name that providers accept: they refuse a history with a name they could not have produced."""
    call = block.get("toolUse")
    if call is None or invalid_name(call.get("name")) is None:
        return block
    return {**block, "toolUse": {**call, "name": "INVALID_TOOL_NAME"}}


_BLANK: Final = {"text": "[blank text]"}


def _filled(block: dict[str, Any]) -> dict[str, Any]:
    return _BLANK if "text" in block and not (block["text"] or "").strip() else block
