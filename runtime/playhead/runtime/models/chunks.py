"""Builds Converse-shaped stream chunks: one function per kind, shared by all providers."""

from __future__ import annotations

from playhead.runtime.core.converse import Chunk

__all__ = [
    "block_start",
    "block_stop",
    "message_start",
    "message_stop",
    "metadata",
    "reasoning_delta",
    "text_delta",
    "tool_delta",
    "tool_start",
]


def message_start() -> Chunk:
    """The first chunk of every message."""
    return {"messageStart": {"role": "assistant"}}


def block_start() -> Chunk:
    """The start of a block of text or reasoning."""
    return {"contentBlockStart": {"start": {}}}


def tool_start(tool_use_id: str, name: str) -> Chunk:
    """The start of a tool call; its input follows as pieces of JSON text."""
    return {"contentBlockStart": {"start": {"toolUse": {"toolUseId": tool_use_id, "name": name}}}}


def text_delta(text: str) -> Chunk:
    """A piece of text."""
    return {"contentBlockDelta": {"delta": {"text": text}}}


def reasoning_delta(text: str) -> Chunk:
    """A piece of the model's reasoning."""
    return {"contentBlockDelta": {"delta": {"reasoningContent": {"text": text}}}}


def tool_delta(json_text: str) -> Chunk:
    """A piece of the JSON text of a tool call's input."""
    return {"contentBlockDelta": {"delta": {"toolUse": {"input": json_text}}}}


def block_stop() -> Chunk:
    """The end of the open block."""
    return {"contentBlockStop": {}}


def message_stop(reason: str) -> Chunk:
    """The end of the message: `end_turn`, `tool_use`, `max_tokens`, `content_filtered` or `stop_sequence`."""
    return {"messageStop": {"stopReason": reason}}


def metadata(*, input_tokens: int, output_tokens: int, latency_ms: int, **more_usage: int) -> Chunk:
    """The last chunk: tokens and time. `more_usage` are further token counts, such as `cacheReadInputTokens`."""
    usage = {"inputTokens": input_tokens, "outputTokens": output_tokens, "totalTokens": input_tokens + output_tokens}
    return {"metadata": {"usage": usage | more_usage, "metrics": {"latencyMs": latency_ms}}}
