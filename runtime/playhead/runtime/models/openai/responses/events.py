"""Converts the events of OpenAI's Responses API to Converse-shaped chunks. Pure.

A response is a list of items: messages, function calls and reasoning. What a server says arrives whole, or the call
fails with the server's words: an item is compared with its deltas when it is done, and one that came without deltas,
or in the whole response alone, is taken from there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.models import chunks as c
from playhead.runtime.models.finish import finish_word, stop_reason
from playhead.runtime.models.openai.blocks import BlockQueue, CallBlock, TextBlock
from playhead.runtime.models.openai.responses.request import REASONING_ITEM
from playhead.runtime.models.server_errors import not_understood, server_error

__all__ = ["ItemTranslator"]

_OWN_TOOLS: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "mcp_list_tools"}
)
"""Items of tools that the server runs itself; what came of them is in the message."""

_TEXT: Final = frozenset({"response.output_text.delta", "response.refusal.delta"})
_REASONING: Final = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class ItemTranslator:
    """One streamed response.

    Args:
        tools: Not used; see `ChunkTranslator`.
        provider: The provider whose reasoning items are kept, to be sent back with the next request. None are kept if
            it is empty.

    Attributes:
        finished: Whether the server said that the response is complete. Without that it is not.
    """

    def __init__(self, *, tools: Collection[str] = (), provider: str = "") -> None:
        self.finished: bool = False
        self._provider = provider
        self._queue = BlockQueue()
        self._items: dict[int, TextBlock | CallBlock] = {}
        self._said: dict[int, list[str]] = {}
        self._done: set[int] = set()
        self._part: dict[int, Any] = {}
        self._words: list[str] = []
        self._usage: Mapping[str, Any] = {}

    def feed(self, event: Any, *, name: str = "") -> list[Chunk]:
        """Process the JSON of one event, or of a whole response, and return the chunks that can be delivered now.

        Raises:
            ModelResponseError: If the event reports an error, or holds something that this provider cannot handle.
        """
        if not isinstance(event, dict):
            raise not_understood("an event that is not an object", event)
        fields = cast("dict[str, Any]", event)
        kind = fields.get("type") or name
        if kind in _TEXT:
            self._say(fields, "text")
        elif kind in _REASONING:
            self._reason(fields)
        elif kind == "response.function_call_arguments.delta":
            self._argue(fields)
        elif kind == "response.output_item.added":
            self._begin(_index(fields), _part_of(fields, "item"))
        elif kind == "response.output_item.done":
            self._end(_index(fields), _part_of(fields, "item"))
        elif kind in _ENDS:
            self._finish(_part_of(fields, "response"))
        elif fields.get("object") == "response" and fields.get("status") in ("completed", "incomplete"):
            self._finish(fields)
        else:
            self._check(fields, kind)
        return self._queue.drain()

    def finish(self) -> list[Chunk]:
        """Return the rest of the message, once the server has said that it is complete.

        Raises:
            ModelResponseError: If the server has not said so.
        """
        if not self.finished:
            raise ModelResponseError("the server ended its stream without the end of the response", transient=True)
        called = any(isinstance(block, CallBlock) for block in self._items.values())
        return [*self._queue.drain(at_end=True), c.message_stop(stop_reason(self._words, called=called))]

    def metadata(self, latency_ms: int) -> Chunk:
        """The last chunk; token counts are 0 if the server reported none."""
        details = _part_of(self._usage, "input_tokens_details")
        found = {
            "totalTokens": self._usage.get("total_tokens"),
            "cacheReadInputTokens": details.get("cached_tokens"),
            "cacheWriteInputTokens": details.get("cache_write_tokens"),
        }
        return c.metadata(
            input_tokens=_count(self._usage.get("input_tokens")),
            output_tokens=_count(self._usage.get("output_tokens")),
            latency_ms=latency_ms,
            **{name: count for name, count in found.items() if type(count) is int},
        )

    def _check(self, fields: dict[str, Any], kind: Any) -> None:
        """Pass over an event that says nothing new, and raise one that reports an error."""
        response = _part_of(fields, "response") or fields
        if kind in ("error", "response.failed") or response.get("error"):
            place = {"error": response["error"]} if response.get("error") else fields
            raise server_error(place, named_error=True) or not_understood("an error", fields)
        if not str(kind).startswith("response.") and (error := server_error(fields)) is not None:
            raise error

    def _say(self, fields: dict[str, Any], kind: Literal["text", "reasoning"], before: str = "") -> None:
        index, piece = _index(fields), fields.get("delta")
        if not isinstance(piece, str):
            raise not_understood("a delta that is not text", fields)
        block = self._items.get(index)
        if block is None:
            block = self._items[index] = TextBlock(kind)
            self._queue.append(block)
        if block is not self._queue.last or not isinstance(block, TextBlock):
            raise not_understood("a delta of an item that another one had followed", fields)
        self._said.setdefault(index, []).append(before + piece)
        block.add(before + piece)

    def _reason(self, fields: dict[str, Any]) -> None:
        """A delta of reasoning; its parts are paragraphs."""
        index, part = _index(fields), fields.get("summary_index", fields.get("content_index"))
        begins = index in self._part and self._part[index] != part
        self._part[index] = part
        self._say(fields, "reasoning", "\n\n" if begins else "")

    def _argue(self, fields: dict[str, Any]) -> None:
        block = self._items.get(_index(fields))
        if not isinstance(block, CallBlock) or block.delivered or not isinstance(fields.get("delta"), str):
            raise not_understood("arguments of a call that is not open", fields)
        block.add(fields["delta"])

    def _begin(self, index: int, item: Mapping[str, Any]) -> None:
        if index in self._items:
            return
        kind = item.get("type")
        if kind == "function_call":
            block = CallBlock(call_id=str(item.get("call_id") or ""), name=str(item.get("name") or ""))
            self._items[index] = block
            self._queue.append(block)
        elif kind not in ("message", "reasoning") and kind not in _OWN_TOOLS:
            raise not_understood(f"an item of the kind {kind!r}, which this provider does not support", item)

    def _end(self, index: int, item: Mapping[str, Any]) -> None:
        """Take what the deltas of an item have not said."""
        if index in self._done:
            return
        self._done.add(index)
        self._begin(index, item)
        kind, block = item.get("type"), self._items.get(index)
        if kind == "function_call" and isinstance(block, CallBlock):
            if rest := self._rest("".join(block.arguments.pieces), item.get("arguments"), item):
                block.add(rest)
        elif kind == "message":
            text = "".join(_texts(item.get("content")))
            if rest := self._rest("".join(self._said.get(index, ())), text, item):
                self._say({"output_index": index, "delta": rest}, "text")
        elif kind == "reasoning":
            self._keep(index, item)

    def _keep(self, index: int, item: Mapping[str, Any]) -> None:
        """Keep an item of reasoning whole, because the server wants it back as it was."""
        if index not in self._items:
            text = "\n\n".join(_texts(item.get("summary")) or _texts(item.get("content")))
            if not text and not self._provider:
                return
            self._say({"output_index": index, "delta": text}, "reasoning")
        block = self._items[index]
        if self._provider and isinstance(block, TextBlock):
            block.fields = {"provider": self._provider, REASONING_ITEM: dict(item)}

    def _rest(self, said: str, given: Any, item: Mapping[str, Any]) -> str:
        if not isinstance(given, str) or not given.startswith(said):
            raise not_understood("a whole item that differs from what it had streamed", item)
        return given[len(said) :]

    def _finish(self, response: Mapping[str, Any]) -> None:
        items: Any = response.get("output")
        for index, item in enumerate(cast("list[Any]", items) if isinstance(items, list) else []):
            if isinstance(item, dict):
                self._end(index, cast("dict[str, Any]", item))
        self._usage = _part_of(response, "usage")
        if word := finish_word(_part_of(response, "incomplete_details").get("reason")):
            self._words.append(word)
        self.finished = True


def _index(fields: Mapping[str, Any]) -> int:
    index = fields.get("output_index")
    if type(index) is not int:
        raise not_understood("an event without the number of its item", fields)
    return index


def _part_of(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value: Any = fields.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _texts(parts: Any) -> list[str]:
    given = cast("list[Any]", parts) if isinstance(parts, list) else []
    found = [cast("dict[str, Any]", part) for part in given if isinstance(part, dict)]
    return [text for part in found if isinstance(text := part.get("text", part.get("refusal")), str)]


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
