"""Derives from a model's raw chunks the event of each chunk and, at the end, the message. Pure.

The loop builds the message with it and the projection derives events with it, so both agree. The rules are Strands'
(`event_loop/streaming.py`, 1.62): tool input that is not JSON becomes `{}`, a tool call without id or name is dropped,
`end_turn` with tool calls means `tool_use`, a stream without `messageStop` counts as `end_turn`. Two things are added.
The text of an input that is not JSON is kept, see `core.tool_input`. What a provider's `contentBlockStop` holds under
`providerFields` is kept in the call or the reasoning, because that provider may require it in the next request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk, ContentBlock, Message
from playhead.runtime.core.tool_input import KEPT_CHARS, UNREAD, read_tool_input

__all__ = ["MessageAssembler", "partial_text", "starts_text"]

_NO_USAGE: Final = MappingProxyType({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
_NO_METRICS: Final = MappingProxyType({"latencyMs": 0})
"""Shared by all messages without a `metadata` chunk, because each waiting tail holds one of them."""


def partial_text(chunks: Iterable[Chunk]) -> str | None:
    """The text of a call that broke off, if a model can continue after it; else None.

    A model can continue one block of text that has not ended. It cannot continue the beginning of a tool call or of
    reasoning, and providers refuse to continue a message that is blank or ends in whitespace.
    """
    text: list[str] = []
    for chunk in chunks:
        delta = (chunk.get("contentBlockDelta") or {}).get("delta")
        if delta is not None and delta.keys() == {"text"}:
            text.append(delta["text"])
        elif not ("messageStart" in chunk or starts_text(chunk)):
            return None
    said = "".join(text)
    return said if said.strip() and said == said.rstrip() else None


def starts_text(chunk: Chunk) -> bool:
    """Whether a chunk begins a block of text."""
    return "contentBlockStart" in chunk and not chunk["contentBlockStart"].get("start")


class MessageAssembler:
    """Folds the chunks of one model call.

    Attributes:
        stop_reason: The stop reason of the message so far.
        complete: Whether the `metadata` chunk, a provider's last, has arrived.
        usage: The tokens; zero until the `metadata` chunk arrives.
        metrics: `{"latencyMs": int, …}`, likewise.
        streamed: All text deltas so far. A reader that builds no message may append a delta here instead of `feed`.
        repeated: Whether the last chunk only began something that had already begun: see `go_on`.
    """

    __slots__ = (
        "_blocks",
        "_citations",
        "_content",
        "_goes_on",
        "_reasoning",
        "_redacted",
        "_role",
        "_signature",
        "_text",
        "_tool_use",
        "_unread",
        "complete",
        "metrics",
        "repeated",
        "stop_reason",
        "streamed",
        "usage",
    )

    def __init__(self) -> None:
        self.stop_reason: str = "end_turn"
        self.complete: bool = False
        self.usage: Mapping[str, Any] = _NO_USAGE
        self.metrics: Mapping[str, Any] = _NO_METRICS
        self._role = "assistant"
        self._blocks: list[ContentBlock] = []
        self._content = self._blocks  # the message's content: the blocks, until a guardrail replaces them by a text
        self.streamed: list[str] = []
        self._text: list[str] = []
        self._tool_use: dict[str, Any] = {}
        self._reasoning: list[str] = []
        self._signature: str | None = None
        self._redacted = b""
        self._citations: list[Any] = []
        self._unread: dict[str, str] = {}
        self._goes_on = False
        self.repeated: Chunk | None = None

    @property
    def text(self) -> str:
        """All text deltas so far, joined."""
        return "".join(self.streamed)

    def go_on(self) -> None:
        """Prepare for the chunks of another call, which continues the open text of this message.

        The start of that call's message and of its first text block then begin nothing new.
        """
        self._goes_on = True

    def feed(self, chunk: Chunk) -> dict[str, Any] | None:
        """Process one chunk. Returns the event derived from it besides the raw one (own keys only), or None."""
        if "contentBlockDelta" in chunk:
            return self._delta(chunk["contentBlockDelta"]["delta"])
        if "contentBlockStop" in chunk:
            self._close_block(chunk["contentBlockStop"].get("providerFields"))
            self._goes_on = False
        elif "contentBlockStart" in chunk:
            if self._goes_on:
                self._goes_on = False
                if starts_text(chunk):
                    self.repeated = chunk
                    return None
                self._close_block()  # the text has ended: the call goes on with a tool call
            start = chunk["contentBlockStart"].get("start") or {}
            self._tool_use = {**start["toolUse"], "input": ""} if start.get("toolUse") else {}
        elif "messageStart" in chunk:
            self._role = chunk["messageStart"]["role"]
            if self._goes_on:
                self.repeated = chunk
        elif "messageStop" in chunk:
            self.stop_reason = chunk["messageStop"]["stopReason"]
            if self.stop_reason == "end_turn" and any("toolUse" in block for block in self._content):
                self.stop_reason = "tool_use"
        elif "metadata" in chunk:
            self.complete = True
            self.usage = {**self.usage, **(chunk["metadata"].get("usage") or {})}
            self.metrics = {**self.metrics, **(chunk["metadata"].get("metrics") or {})}
        elif "redactContent" in chunk:
            replacement = chunk["redactContent"].get("redactAssistantContentMessage")
            if replacement is not None:
                self._content = [{"text": replacement}]
        return None

    def say(self, text: str) -> None:
        """Process a text delta, as `feed` does, without an event."""
        self._text.append(text)
        self.streamed.append(text)

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any] | None:
        if "text" in delta:
            text = delta["text"]
            self.say(text)
            return {"data": text, "delta": delta}
        if "toolUse" in delta:
            return self._tool_input(delta)
        if "reasoningContent" in delta:
            return self._reason(delta)
        if "citation" in delta:
            self._citations.append(delta["citation"])
            return {"citation": delta["citation"], "delta": delta}
        return None

    def _tool_input(self, delta: dict[str, Any]) -> dict[str, Any]:
        part = delta["toolUse"]
        use = self._tool_use
        use["input"] = use.get("input", "") + part.get("input", "")
        for field in ("toolUseId", "name"):  # some providers name the call in a delta instead of at its start
            if field not in use and field in part:
                use[field] = part[field]
        return {"type": "tool_use_stream", "delta": delta, "current_tool_use": dict(use)}

    def _reason(self, delta: dict[str, Any]) -> dict[str, Any] | None:
        part = delta["reasoningContent"]
        if "text" in part:
            self._reasoning.append(part["text"])
            return {"reasoningText": part["text"], "delta": delta, "reasoning": True}
        if "signature" in part:
            self._signature = (self._signature or "") + part["signature"]
            return {"reasoning_signature": part["signature"], "delta": delta, "reasoning": True}
        if redacted := part.get("redactedContent"):
            self._redacted += redacted
            return {"reasoningRedactedContent": redacted, "delta": delta, "reasoning": True}
        return None

    def _close_block(self, fields: Any = None) -> None:
        more = {"providerFields": fields} if fields else {}
        if self._tool_use:
            self._close_tool_use(self._tool_use, more)
            self._tool_use = {}
            more = {}
        if self._text:
            block: ContentBlock = {"text": "".join(self._text)}
            if self._citations:
                block = {"citationsContent": {"citations": self._citations, "content": [block]}}
                self._citations = []
            self._text = []
            if block.get("text") != "":
                self._blocks.append(block)
        self._close_reasoning(more)

    def _close_reasoning(self, more: dict[str, Any]) -> None:
        reasoning = {"text": "".join(self._reasoning)}
        if reasoning["text"] or self._signature is not None or more:
            if self._signature is not None:
                reasoning["signature"] = self._signature
            self._signature = None
            self._blocks.append({"reasoningContent": {"reasoningText": reasoning, **more}})
        self._reasoning = []
        if self._redacted:
            self._blocks.append({"reasoningContent": {"redactedContent": self._redacted}})
            self._redacted = b""

    def _close_tool_use(self, use: dict[str, Any], more: dict[str, Any]) -> None:
        if not use.get("toolUseId") or not use.get("name"):
            return
        text = use.get("input", "")
        try:
            value: Any = read_tool_input(text)
        except ValueError:
            value = {}
            position = sum("toolUse" in block for block in self._blocks)
            self._unread[str(position)] = text[:KEPT_CHARS]
        done = {"toolUseId": use["toolUseId"], "name": use["name"], "input": value, **more}
        if "reasoningSignature" in use:
            done["reasoningSignature"] = use["reasoningSignature"]
        self._blocks.append({"toolUse": done})

    def message(self) -> Message:
        """The finished message, `metadata` included."""
        metadata: dict[str, Any] = {"usage": dict(self.usage), "metrics": dict(self.metrics)}
        if self._unread:
            metadata[UNREAD] = dict(self._unread)
        return cast("Message", {"role": self._role, "content": self._content, "metadata": metadata})
