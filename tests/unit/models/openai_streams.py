"""Responses of an OpenAI-compatible server as bytes, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.tool_input import unread_input
from playhead.runtime.models.openai.chunks import ChunkTranslator
from playhead.runtime.models.openai.response import ResponseReader
from testkit.provider.habits import DONE, delta, event

__all__ = ["DONE", "Answer", "call", "delta", "event", "read", "sse"]

PROVIDER = "api.example.com"


@dataclass(frozen=True)
class Answer:
    """A message as it is stored. A call's input is its text where that could not be read."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    stop_reason: str
    chunks: list[Chunk]
    message: Message

    @property
    def ids(self) -> list[str]:
        return [block["toolUse"]["toolUseId"] for block in self.message.get("content", []) if "toolUse" in block]

    @property
    def kinds(self) -> list[str]:
        return [next(iter(block)) for block in self.message.get("content", [])]


def call(
    name: str | None = None,
    arguments: Any = None,
    *,
    index: Any = 0,
    id: Any = None,  # noqa: A002
    **more: Any,
) -> dict[str, Any]:
    """An event with one tool call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    place = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return delta(tool_calls=[{"type": "function", "function": function, **place, **more}])


def sse(*items: Any) -> bytes:
    """Events as they are sent; bytes as they are."""
    return b"".join(
        item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n" for item in items
    )


def read(
    *items: Any, content_type: str = "text/event-stream", tools: Collection[str] = ("look", "add"), size: int = 1 << 30
) -> Answer:
    """What becomes of a response that ends in order; `size` is the number of bytes that arrive at once.

    Raises:
        ModelResponseError: The response is an error, or not understood.
        EOFError: The response is incomplete.
    """
    translator = ChunkTranslator(tools=tools, provider=PROVIDER)
    reader = ResponseReader(content_type=content_type, translator=translator)
    body, chunks = sse(*items), list[Chunk]()
    for start in range(0, len(body), size):
        chunks += reader.feed(body[start : start + size])
    chunks += reader.finish()
    if not (translator.finished or reader.done):
        raise EOFError("neither a finish reason nor [DONE]")
    chunks += translator.finish()
    return _answer([*chunks, translator.metadata(1)])


def _answer(chunks: list[Chunk]) -> Answer:
    assembler, is_open = MessageAssembler(), False
    for chunk in chunks:
        assert is_open is ("contentBlockDelta" in chunk or "contentBlockStop" in chunk), chunks
        is_open ^= "contentBlockStart" in chunk or "contentBlockStop" in chunk
        assembler.feed(chunk)
    message = assembler.message()
    content = message.get("content", [])
    uses = [block["toolUse"] for block in content if "toolUse" in block]
    calls: list[tuple[str, Any]] = []
    for index, use in enumerate(uses):
        text = unread_input(message, index)
        calls.append((use["name"], use["input"] if text is None else text))
    reasoning = [block["reasoningContent"]["reasoningText"]["text"] for block in content if "reasoningContent" in block]
    return Answer(assembler.text, "".join(reasoning), calls, assembler.stop_reason, chunks, message)
