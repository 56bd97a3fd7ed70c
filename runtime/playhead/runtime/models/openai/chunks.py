"""Converts deltas of a streamed chat completion to Converse-shaped chunks. Pure."""

from __future__ import annotations

import json
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import chunks as c

__all__ = ["ChunkTranslator"]

_STOP_REASONS = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "content_filtered",
}


@dataclass
class _Block:
    """A content block; `pending` holds what was received and not delivered yet."""

    kind: Literal["text", "reasoning", "tool"]
    tool_id: str = ""
    name: str = ""
    started: bool = False
    over: bool = False
    pending: list[str] = field(default_factory=list[str])
    received: list[str] = field(default_factory=list[str])

    def add(self, piece: str) -> None:
        self.pending.append(piece)
        if self.kind == "tool":
            self.received.append(piece)

    def complete(self) -> bool:
        """Whether no further delta can belong to it: the kind changed, or its JSON object is closed."""
        if self.over or self.kind != "tool":
            return self.over
        text = "".join(self.received).rstrip()
        if not (text.startswith("{") and text.endswith("}")):
            return False
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True


class ChunkTranslator:
    """One streamed message.

    Blocks are delivered whole and one after the other. The first unfinished block is delivered as it arrives. Servers
    may interleave several tool calls, so the blocks after it wait until its JSON object is closed.

    Attributes:
        finished: Whether the server gave a finish reason; without one the message is incomplete.
    """

    def __init__(self) -> None:
        self.finished: bool = False
        self._usage: Any = None
        self._blocks: deque[_Block] = deque()
        self._tools: dict[int, _Block] = {}
        self._called = False

    def feed(self, event: Any) -> list[Chunk]:
        """Process one `ChatCompletionChunk`; returns the chunks that can be delivered now."""
        self._usage = getattr(event, "usage", None) or self._usage
        choices = getattr(event, "choices", None)
        if not choices or self.finished:
            return []
        choice = choices[0]
        self._take(getattr(choice, "delta", None))
        reason = getattr(choice, "finish_reason", None)
        if not reason:
            return self._drain()
        self.finished = True
        chunks = self._drain(at_end=True)
        chunks.append(c.message_stop(self._stop_reason(reason)))
        return chunks

    def metadata(self, latency_ms: int) -> Chunk:
        """The last chunk; token counts are 0 where the server reported none."""
        more: dict[str, int] = {}
        cached = getattr(getattr(self._usage, "prompt_tokens_details", None), "cached_tokens", None)
        if isinstance(cached, int):
            more["cacheReadInputTokens"] = cached
        total = _count(self._usage, "total_tokens")
        if total:
            more["totalTokens"] = total
        return c.metadata(
            input_tokens=_count(self._usage, "prompt_tokens"),
            output_tokens=_count(self._usage, "completion_tokens"),
            latency_ms=latency_ms,
            **more,
        )

    def _take(self, delta: Any) -> None:
        reasoning = _text(delta, "reasoning_content") or _text(delta, "reasoning")
        if reasoning:
            self._text_block("reasoning").add(reasoning)
        for name in ("content", "refusal"):
            if text := _text(delta, name):
                self._text_block("text").add(text)
        for call in getattr(delta, "tool_calls", None) or ():
            self._take_tool_call(call)

    def _text_block(self, kind: Literal["text", "reasoning"]) -> _Block:
        if not self._blocks or self._blocks[-1].kind != kind:
            self._append(_Block(kind))
        return self._blocks[-1]

    def _take_tool_call(self, call: Any) -> None:
        index = getattr(call, "index", None)
        key = index if isinstance(index, int) else max(self._tools, default=0)
        block = self._tools.get(key)
        call_id = _text(call, "id")
        # Some servers number every call 0 (or not at all), so only the id distinguishes them.
        if block is None or (call_id and block.tool_id and call_id != block.tool_id):
            block = self._tools[key] = _Block("tool")
            self._append(block)
        function = getattr(call, "function", None)
        block.tool_id = block.tool_id or call_id
        block.name = block.name or _text(function, "name")
        if piece := _text(function, "arguments"):
            block.add(piece)

    def _append(self, block: _Block) -> None:
        if self._blocks and self._blocks[-1].kind != "tool":
            self._blocks[-1].over = True
        self._blocks.append(block)

    def _drain(self, *, at_end: bool = False) -> list[Chunk]:
        chunks: list[Chunk] = []
        while self._blocks:
            block = self._blocks[0]
            chunks.extend(self._deliver(block))
            is_last = len(self._blocks) == 1
            if not at_end and (is_last or not block.complete()):
                break
            if block.started:
                chunks.append(c.block_stop())
            self._blocks.popleft()
        return chunks

    def _deliver(self, block: _Block) -> list[Chunk]:
        chunks: list[Chunk] = []
        if not block.started:
            if block.kind == "tool" and not block.name:  # a start without a name could not be withdrawn
                return chunks
            chunks.append(self._start(block))
        delta = {"text": c.text_delta, "reasoning": c.reasoning_delta, "tool": c.tool_delta}[block.kind]
        chunks.extend(delta(piece) for piece in block.pending)
        block.pending.clear()
        return chunks

    def _start(self, block: _Block) -> Chunk:
        block.started = True
        if block.kind != "tool":
            return c.block_start()
        self._called = True
        block.tool_id = block.tool_id or f"call_{uuid.uuid4().hex}"  # local servers may send none
        return c.tool_start(block.tool_id, block.name)

    def _stop_reason(self, finish_reason: str) -> str:
        """Servers disagree on `stop` and `tool_calls`, so a tool call decides."""
        reason = _STOP_REASONS.get(finish_reason, "end_turn")
        if reason in ("end_turn", "tool_use"):
            return "tool_use" if self._called else "end_turn"
        return reason


def _text(holder: Any, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else 0
