"""Converts the events of a streamed chat completion to Converse-shaped chunks. Pure.

A server's message is delivered whole, or the call fails with the server's words; nothing is dropped silently.
docs/providers.md lists the known habits of servers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.core.tool_input import read_tool_input
from playhead.runtime.models import chunks as c
from playhead.runtime.models.finish import finish_word, is_failure, stop_reason
from playhead.runtime.models.openai.blocks import BlockQueue, TextBlock
from playhead.runtime.models.openai.calls import CallTable
from playhead.runtime.models.openai.deltas import calls_of, details_of, merged_details, reasoning_of, text_of
from playhead.runtime.models.openai.usage import metadata, usage_of
from playhead.runtime.models.openai.whole_message import Said, differs, says
from playhead.runtime.models.server_errors import broken_off, not_understood, server_error

__all__ = ["ChunkTranslator"]

_NOT_TEXT: Final = frozenset({"audio", "image", "images"})
"""Parts of a response that a message in the history cannot hold."""

_NO_REASON: Final = "The server ended its stream without a finish reason."


class ChunkTranslator:
    """One streamed message.

    Args:
        tools: The names of the tools that were offered.
        provider: The provider whose own fields are kept, to be sent back with the next request. None are kept if it
            is empty.

    Attributes:
        finished: Whether the server gave a finish reason. Without one, and without `[DONE]`, the message is incomplete.
    """

    def __init__(self, *, tools: Collection[str] = (), provider: str = "") -> None:
        self.finished: bool = False
        self._provider = provider
        self._queue = BlockQueue()
        self._calls = CallTable(self._queue, tools=tools, provider=provider)
        self._usage: Mapping[str, Any] = {}
        self._words: list[str] = []
        self._said = Said()
        self._choice: object = None
        self._details: list[dict[str, Any]] = []

    def feed(self, event: Any, *, name: str = "") -> list[Chunk]:
        """Process the JSON of one event, and return the chunks that can be delivered now.

        Args:
            event: The parsed data of a server-sent event, or the body of a response that is not a stream.
            name: The name that the server gave the event; empty without one.

        Raises:
            ModelResponseError: If the event reports an error, or holds something that this provider cannot handle.
        """
        if type(event) is not dict:
            return self._feed_other(event, name)
        fields = cast("dict[str, Any]", event)
        choices: Any = fields.get("choices")
        if not choices or name or "error" in fields or "base_resp" in fields:
            if (error := server_error(fields, named_error="error" in name)) is not None:
                raise error
            choices = choices or _native(fields)
        if fields.get("usage") or "x_groq" in fields:
            self._count(fields)
            self._count(fields.get("x_groq"))
        if choices:
            self._take_choice(self._own(choices), fields)
        return self._queue.drain()

    def finish(self) -> list[Chunk]:
        """Return the rest of the message, once the server has said that it is complete.

        Raises:
            ModelResponseError: If the stream holds no message, or one that breaks off in the middle of a tool call.
        """
        if not self.finished:
            self._check_whole()
        self._calls.check()
        if self._details:  # they came without reasoning, or after it had been delivered
            self._reason("reasoning", "", [])
        chunks = self._queue.drain(at_end=True)
        stop = c.message_stop(stop_reason(self._words, called=bool(self._calls.calls)))
        if not self.finished:
            stop["messageStop"]["additionalModelResponseFields"] = {"note": _NO_REASON}
        return [*chunks, stop]

    def metadata(self, latency_ms: int) -> Chunk:
        """The last chunk; token counts are 0 if the server reported none."""
        return metadata(self._usage, latency_ms=latency_ms)

    def _feed_other(self, event: Any, name: str) -> list[Chunk]:
        """Process an event that is not an object; Gemini sends its errors in a list."""
        if event is None:
            return []
        if "error" in name or not isinstance(event, list):
            error = server_error({"error": event}) if event and "error" in name else None
            raise error or not_understood("an event that is not an object", event)
        return [chunk for each in cast("list[Any]", event) for chunk in self.feed(each, name=name)]

    def _own(self, choices: Any) -> dict[str, Any]:
        """The one choice that this message is made of."""
        given = cast("list[Any]", choices if isinstance(choices, list) else [choices])
        if type(given[0]) is not dict:
            raise not_understood("a choice that is not an object", choices)
        own = cast("dict[str, Any]", given[0])
        index = own.get("index") or 0
        if self._choice is None:
            self._choice = index
        if len(given) > 1 or index != self._choice:
            raise not_understood("more than one answer; ask for one only (params without 'n')", choices)
        return own

    def _count(self, place: Any) -> None:
        """Keep the reported usage; many servers report it with every event."""
        self._usage = usage_of(place) or self._usage

    def _take_choice(self, choice: dict[str, Any], event: dict[str, Any]) -> None:
        if error := choice.get("error"):
            raise server_error({"error": error}) or not_understood("an error", error)
        delta: Any = choice.get("delta") or {}
        message: Any = choice.get("message")
        if "usage" in choice:
            self._count(choice)
        if not isinstance(delta, dict):
            raise not_understood("a delta that is not an object", delta)
        if delta:
            self._take(cast("dict[str, Any]", delta))
        elif not message and choice.get("text"):  # of the older completions API
            self._say(choice["text"])
        if isinstance(message, dict):
            whole = event.get("object") == "chat.completion"
            self._take_message(cast("dict[str, Any]", message), cast("dict[str, Any]", delta), whole=whole)
        elif message and not says(delta):
            raise not_understood("a message that is not an object", message)
        if word := finish_word(choice.get("finish_reason")):
            self._finish(word, choice, event)

    def _finish(self, word: str, choice: dict[str, Any], event: dict[str, Any]) -> None:
        if is_failure(word):
            raise broken_off(word, choice.get("finish_message"), choice.get("message"), event.get("message"))
        self.finished = True
        if word not in self._words[-1:]:
            self._words.append(word)

    def _take_message(self, message: dict[str, Any], delta: dict[str, Any], *, whole: bool) -> None:
        """Process the part of a `message` that the deltas have not said."""
        repeated = self._said.repeated(whole=whole)
        fields = self._said.unsaid(message, delta=delta, repeated=repeated)
        if "reasoning" in repeated and not self._said.detailed:
            self._details.extend(details_of(message))
        if "calls" in repeated:
            calls = list(calls_of({key: fields.pop(key, None) for key in ("tool_calls", "function_call")}))
            if calls and calls != list(calls_of(delta)) and not self._calls.complete(calls):
                raise differs(message)
        self._take(fields)
        self._said.took_message(repeated=repeated)

    def _take(self, delta: dict[str, Any]) -> None:
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            field, reasoning = reasoning_of(delta)
            if reasoning or delta.get("reasoning_details"):
                self._reason(field, reasoning, details_of(delta))
        if content:
            self._say(content)
        if len(delta) > 1 or content is None:
            self._take_more(delta)

    def _take_more(self, delta: dict[str, Any]) -> None:
        """Process the parts of a delta that follow its text."""
        if delta.get("refusal"):
            self._say(delta["refusal"])
        if delta.get("tool_calls") or delta.get("function_call"):
            self._said.calls += 1
            for call in calls_of(delta):
                self._calls.take(call)
        if "usage" in delta:
            self._count(delta)
        if not _NOT_TEXT.isdisjoint(delta):
            for key in _NOT_TEXT.intersection(delta):
                if delta[key]:
                    raise not_understood(f"{key}, which a message of this agent cannot hold", delta[key])

    def _say(self, content: Any) -> None:
        if type(content) is str:
            self._said.text.append(content)
            self._queue.say("text", content)
            return
        for kind, piece in text_of(content):
            if not piece:
                continue
            if kind == "reasoning":
                self._reason("content", piece, [])
            else:
                self._say(piece)

    def _reason(self, field: str, piece: str, details: list[dict[str, Any]]) -> None:
        self._details.extend(details)
        self._said.detailed = self._said.detailed or bool(details)
        if piece:
            self._said.reasoning.append(piece)
        last = self._queue.last
        reasons = isinstance(last, TextBlock) and last.kind == "reasoning"
        if details and not piece and self._queue.begun and not reasons:  # they must not cut a text in two
            return
        block = self._queue.say("reasoning", piece)
        if not self._provider or (block.fields and not self._details):
            return
        kept: dict[str, Any] = {"provider": self._provider, "field": block.fields.get("field") or field or "reasoning"}
        if self._details:
            kept["details"] = merged_details([*block.fields.get("details", []), *self._details])
            self._details = []
        block.fields = kept

    def _check_whole(self) -> None:
        """Check a message that the server ended with `[DONE]` alone."""
        if not self._queue.begun:
            raise ModelResponseError("the server ended its stream without an answer", transient=True)
        for call in self._calls.calls:
            try:
                read_tool_input(call.arguments.text)
            except ValueError as error:
                text = f"the server ended its stream in the middle of a call of {call.name!r}"
                raise ModelResponseError(f"{text}: {call.arguments.text[:200]}", transient=True) from error


def _native(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The choice in an event of Ollama's own API, which has `message` and `done_reason` at the top."""
    message: Any = event.get("message")
    if not isinstance(message, dict):
        return []
    reason: Any = event.get("done_reason") or ("stop" if event.get("done") else None)
    return [{"message": cast("dict[str, Any]", message), "finish_reason": reason}]
