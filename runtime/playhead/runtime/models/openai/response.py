"""Converts the bytes of a response to Converse-shaped chunks. Pure."""

from __future__ import annotations

import json
from typing import Any, Protocol

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.models.server_errors import error_words
from playhead.runtime.models.sse import EventDecoder, ServerEvent

__all__ = ["ResponseReader", "Translator"]


class Translator(Protocol):
    """Converts the events of one streamed message to chunks.

    Attributes:
        finished: Whether the server said how the message ended.
    """

    finished: bool

    def feed(self, event: Any, *, name: str = "") -> list[Chunk]: ...

    def finish(self) -> list[Chunk]: ...

    def metadata(self, latency_ms: int) -> Chunk: ...


class ResponseReader:
    """Reads one response with status 200: a stream of events or, from servers that ignore `stream`, a JSON body.

    Args:
        content_type: The response's header; empty without one.
        translator: Receives the events.

    Attributes:
        done: Whether the server has sent `[DONE]` or a whole body, so that there is nothing more to read.
    """

    def __init__(self, *, content_type: str, translator: Translator) -> None:
        self.done: bool = False
        self._translator = translator
        self._decoder = EventDecoder()
        self._body: list[bytes] | None = None
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            self._body = []

    def feed(self, data: bytes) -> list[Chunk]:
        """Process the next bytes, and return the chunks that can be delivered.

        Raises:
            ModelResponseError: If the server reports an error, or sends something that is not understood.
        """
        if self._body is not None:
            self._body.append(data)
            return []
        try:
            events = self._decoder.feed(data)
        except UnicodeDecodeError as error:
            raise _not_json(repr(error.object[:200]), error) from error
        return self._chunks(events)

    def finish(self) -> list[Chunk]:
        """Return the chunks that can be delivered at the end of the body.

        Raises:
            ModelResponseError: As `feed`, or if the body holds lines that are not events.
        """
        try:
            if self._body is not None:
                return self._whole(b"".join(self._body).decode())
            chunks = self._chunks(self._decoder.finish())
        except UnicodeDecodeError as error:
            raise _not_json(repr(error.object[:200]), error) from error
        stray = "\n".join(self._decoder.stray).strip()
        return [*chunks, *self._whole(stray)] if stray else chunks

    def _chunks(self, events: list[ServerEvent]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for name, data in events:
            if self.done:
                break
            *before, last = data.rsplit("\n", 1)
            self.done = last.lstrip().startswith("[DONE]")
            for value in _parsed("\n".join(before) if self.done else data, name):
                chunks.extend(self._translator.feed(value, name=name))
        return chunks

    def _whole(self, text: str) -> list[Chunk]:
        """The chunks of a body that is not a stream: one JSON text, or one in each line."""
        if not text.strip():
            return []
        chunks = [chunk for value in _parsed(text, "") for chunk in self._translator.feed(value)]
        self.done = True
        return chunks


def _parsed(data: str, name: str) -> list[Any]:
    """The JSON of an event; some servers put each event into one line, without a blank line between two."""
    if not data:
        return []
    try:
        return [json.loads(data)]
    except (ValueError, RecursionError) as error:
        if "error" in name:
            return [{"error": data}]
        if "\n" not in data:
            raise _not_json(data, error) from error
    values: list[Any] = []
    for line in data.split("\n"):
        try:
            values.extend([json.loads(line)] if line.strip() else [])
        except (ValueError, RecursionError) as error:
            raise _not_json(data, error) from error
    return values


def _not_json(data: str, error: Exception) -> ModelResponseError:
    return ModelResponseError(f"the server sent what is not JSON ({error}): {error_words(data)}", transient=True)
