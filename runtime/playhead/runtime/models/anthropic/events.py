"""Converts the events of Anthropic's Messages API to Converse-shaped chunks. Pure.

An event of an unknown type is passed over, as the API demands, because new ones may come. A block or a delta of an
unknown type is an error, because a part of the message would be lost.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.models import chunks as c
from playhead.runtime.models.anthropic.citations import citation
from playhead.runtime.models.content import json_text
from playhead.runtime.models.finish import stop_reason
from playhead.runtime.models.server_errors import error_words, not_understood, server_error
from playhead.runtime.models.sse import ServerEvent

__all__ = ["EventTranslator"]

_BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})


class EventTranslator:
    """One streamed message.

    Attributes:
        finished: Whether `message_stop` arrived. Without it the message is incomplete.
    """

    def __init__(self) -> None:
        self.finished: bool = False
        self._open: int | None = None
        self._input: str | None = None  # of a tool call whose input came with its start
        self._called = False
        self._reason = ""
        self._usage: dict[str, int] = {}

    def feed(self, event: ServerEvent) -> list[Chunk]:
        """Process one event, and return its chunks.

        Raises:
            ModelResponseError: If the event reports an error, or holds something that this provider cannot handle.
        """
        fields = _parsed(event)
        kind = fields.get("type") or event.name
        if kind == "error" or event.name == "error":
            raise server_error(fields, named_error=True) or not_understood("an error", fields)
        match kind:
            case "message_start":
                self._count(_part(fields, "message"))
            case "content_block_start":
                return self._start(fields.get("index"), _part(fields, "content_block"))
            case "content_block_delta":
                self._check_open(fields)
                return [self._delta(_part(fields, "delta"))]
            case "content_block_stop":
                return self._stop(fields)
            case "message_delta":
                self._reason = str(_part(fields, "delta").get("stop_reason") or self._reason)
                self._count(fields)
            case "message_stop":
                return self._finish(fields)
            case _:
                pass
        return []

    def metadata(self, latency_ms: int) -> Chunk:
        """The last chunk. Anthropic's `input_tokens` are without those of the cache, which the total includes."""
        counts = {name: self._usage.get(name, 0) for name in ("input_tokens", "output_tokens")}
        cache = {
            "cacheReadInputTokens": self._usage.get("cache_read_input_tokens", 0),
            "cacheWriteInputTokens": self._usage.get("cache_creation_input_tokens", 0),
        }
        used = {name: count for name, count in cache.items() if count}
        return c.metadata(
            **counts, latency_ms=latency_ms, totalTokens=sum(counts.values()) + sum(cache.values()), **used
        )

    def _count(self, place: Mapping[str, Any]) -> None:
        """Keep the reported counts, which are those of the whole message so far."""
        usage = _part(place, "usage")
        self._usage |= {name: value for name, value in usage.items() if type(value) is int and value >= 0}

    def _start(self, index: Any, block: Mapping[str, Any]) -> list[Chunk]:
        kind = block.get("type")
        if kind not in _BLOCKS:
            raise not_understood(f"a block of the kind {kind!r}, which this provider does not support", block)
        if self._open is not None:
            raise not_understood(f"block {index} before the end of block {self._open}", block)
        self._open = index
        if kind == "tool_use":
            self._called = True
            given = block.get("input")
            self._input = json_text(given) if given else None
            return [c.tool_start(str(block.get("id") or ""), str(block.get("name") or ""))]
        chunks = [c.block_start()]
        if kind == "redacted_thinking":
            chunks.append(_redacted(block))
        elif kind == "text" and block.get("text"):
            chunks.append(c.text_delta(str(block["text"])))
        elif kind == "thinking":
            chunks += [_reasoning("text", block["thinking"])] if block.get("thinking") else []
            chunks += [_reasoning("signature", block["signature"])] if block.get("signature") else []
        return chunks

    def _delta(self, delta: Mapping[str, Any]) -> Chunk:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return c.text_delta(text)
            case {"type": "thinking_delta", "thinking": str(text)}:
                return c.reasoning_delta(text)
            case {"type": "signature_delta", "signature": str(signature)}:
                return _reasoning("signature", signature)
            case {"type": "input_json_delta", "partial_json": str(text)}:
                self._input = None if text else self._input
                return c.tool_delta(text)
            case {"type": "citations_delta", "citation": Mapping() as given}:
                made = citation(cast("Mapping[str, Any]", given))
                return {"contentBlockDelta": {"delta": {"citation": made}}}
            case _:
                raise not_understood(f"a delta of the kind {delta.get('type')!r}", delta)

    def _stop(self, fields: Mapping[str, Any]) -> list[Chunk]:
        self._check_open(fields)
        before = [c.tool_delta(self._input)] if self._input else []
        self._open, self._input = None, None
        return [*before, c.block_stop()]

    def _finish(self, fields: Mapping[str, Any]) -> list[Chunk]:
        if self._open is not None:
            raise not_understood(f"the end of the message before that of block {self._open}", fields)
        if self._reason == "pause_turn":
            raise not_understood("a pause for tools of its own, which this provider does not support", self._reason)
        self.finished = True
        return [c.message_stop(stop_reason([self._reason] if self._reason else [], called=self._called))]

    def _check_open(self, fields: Mapping[str, Any]) -> None:
        if fields.get("index") != self._open or self._open is None:
            raise not_understood(f"an event of block {fields.get('index')} while block {self._open} is open", fields)


def _reasoning(field: str, value: Any) -> Chunk:
    return {"contentBlockDelta": {"delta": {"reasoningContent": {field: str(value)}}}}


def _redacted(block: Mapping[str, Any]) -> Chunk:
    """Encrypted reasoning, which must go back character by character, so it must survive the way to bytes and back."""
    data = str(block.get("data") or "")
    try:
        held = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        held = b""
    if not held or base64.b64encode(held).decode() != data:
        raise not_understood("redacted reasoning that is not base64", block)
    return {"contentBlockDelta": {"delta": {"reasoningContent": {"redactedContent": held}}}}


def _parsed(event: ServerEvent) -> dict[str, Any]:
    try:
        value: Any = json.loads(event.data)
    except (ValueError, RecursionError) as error:
        if event.name == "error":
            return {"error": event.data}
        text = f"the server sent what is not JSON ({error}): {error_words(event.data)}"
        raise ModelResponseError(text, transient=True) from error
    if not isinstance(value, dict):
        raise not_understood("an event that is not an object", value)
    return cast("dict[str, Any]", value)


def _part(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value: Any = fields.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
