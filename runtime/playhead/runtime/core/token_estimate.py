"""Estimates how many tokens a history has, from what a model counted before and from the length of the rest. Pure.

The rules are Strands' (1.62): four characters of text are a token, and two of JSON; images and documents are not counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

from playhead.runtime.core.converse import ContentBlock, Message

__all__ = ["estimated_tokens"]

_PROMPT = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


def estimated_tokens(messages: Sequence[Message]) -> int:
    """The tokens of the next request: those of the last answer with its prompt, and an estimate of what came after.

    Without an answer the system prompt and the tools are not counted.
    """
    for place in range(len(messages) - 1, -1, -1):
        usage = (messages[place].get("metadata") or {}).get("usage") or {}
        if messages[place].get("role") == "assistant" and usage:
            known = sum(int(usage.get(name) or 0) for name in (*_PROMPT, "outputTokens"))
            return known + sum(map(_of_message, messages[place + 1 :]))
    return sum(map(_of_message, messages))


def _of_message(message: Message) -> int:
    return sum(part for block in message.get("content", []) for part in _of_block(block))


def _of_block(block: ContentBlock) -> Iterator[int]:
    yield _text(block.get("text"))
    call, result = block.get("toolUse") or {}, block.get("toolResult") or {}
    if call:
        yield _text(call.get("name")) + _json(call.get("input", {}))
    for item in result.get("content", []):
        yield _text(item.get("text")) + (_json(item["json"]) if "json" in item else 0)
    yield _text(((block.get("reasoningContent") or {}).get("reasoningText") or {}).get("text"))
    yield _text(((block.get("guardContent") or {}).get("text") or {}).get("text"))
    for cited in (block.get("citationsContent") or {}).get("content", []):
        yield _text(cast("dict[str, Any]", cited).get("text"))


def _text(value: object) -> int:
    return math.ceil(len(value) / 4) if isinstance(value, str) else 0


def _json(value: object) -> int:
    try:
        return math.ceil(len(json.dumps(value)) / 2)
    except (TypeError, ValueError):
        return 0
