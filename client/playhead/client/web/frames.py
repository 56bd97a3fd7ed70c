"""Events as the bytes of a response, in each form. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from playhead.client.tails.notice import Notice
from playhead.client.web.request import Media
from playhead.runtime.core.events import Event
from playhead.runtime.core.json_lines import json_line

__all__ = ["Frames", "Show", "frames_of"]

Show = Callable[[Event], Any]
"""Gives what is sent for an event: plain data, or None to leave the event out."""


class Frames(Protocol):
    """One form of a response.

    Attributes:
        media_type: The content type.
        heartbeat: Sent when nothing else was for a while; a reader ignores it.
    """

    media_type: str
    heartbeat: bytes

    def begin(self, retry_ms: int) -> bytes:
        """What comes first; a browser connects again after `retry_ms`."""
        ...

    def event(self, event: Event) -> bytes:
        """An event; empty if it is left out."""
        ...

    def notice(self, notice: Notice) -> bytes:
        """What the run waits for."""
        ...

    def end(self, error: dict[str, Any] | None) -> bytes:
        """What comes last, with the error that ended the stream."""
        ...


def frames_of(media: Media, show: Show | None) -> Frames:
    """The frames of a form. Without `show` the events are sent whole; as plain text, the text of finished messages."""
    match media:
        case "sse":
            return _ServerSentEvents(show)
        case "jsonl":
            return _JsonLines(show)
        case "text":
            return _PlainText(show or _finished_text)


def _notice_data(notice: Notice) -> dict[str, Any]:
    """A notice without its message, which names servers and workers and is for those who run them."""
    interrupts = [dict(one) for one in notice.interrupts]
    return {"kind": notice.kind, "interrupts": interrupts, "since": notice.since, "until": notice.until}


class _ServerSentEvents:
    """`id:` is the run's id and the event's cursor, so that a cursor that reaches another run is noticed."""

    media_type: str = "text/event-stream"
    heartbeat: bytes = b":\n\n"

    def __init__(self, show: Show | None) -> None:
        self._show = show

    def begin(self, retry_ms: int) -> bytes:
        return f"retry: {retry_ms}\n\n".encode()

    def event(self, event: Event) -> bytes:
        shown = event if self._show is None else self._show(event)
        if shown is None:
            return b""
        return f"id: {event.run_id}:{event.cursor}\ndata: {json_line(shown)}\n\n".encode()

    def notice(self, notice: Notice) -> bytes:
        return self._named("notice", _notice_data(notice))

    def end(self, error: dict[str, Any] | None) -> bytes:
        return self._named("end", {"error": error})

    def _named(self, name: str, data: dict[str, Any]) -> bytes:
        return f"event: {name}\ndata: {json_line(data)}\n\n".encode()


class _JsonLines:
    media_type: str = "application/x-ndjson"
    heartbeat: bytes = b"\n"

    def __init__(self, show: Show | None) -> None:
        self._show = show

    def begin(self, retry_ms: int) -> bytes:
        return b""

    def event(self, event: Event) -> bytes:
        shown = event if self._show is None else self._show(event)
        if shown is None:
            return b""
        place = {"run": event.run_id, "cursor": event.cursor, "seq": event.seq, "at": event.at}
        return self._line({**place, "event": shown})

    def notice(self, notice: Notice) -> bytes:
        return self._line({"notice": _notice_data(notice)})

    def end(self, error: dict[str, Any] | None) -> bytes:
        return self._line({"end": {"error": error}})

    def _line(self, data: dict[str, Any]) -> bytes:
        return f"{json_line(data)}\n".encode()


_ASSISTANT: Final = "assistant"


def _finished_text(event: Event) -> str | None:
    """The text of a finished message of the model: what is sent as plain text cannot be retracted."""
    message = event.get("message")
    if message is None or message["role"] != _ASSISTANT:
        return None
    return "".join(f"{block['text']}\n" for block in message["content"] if "text" in block) or None


class _PlainText:
    media_type: str = "text/plain"
    heartbeat: bytes = b""

    def __init__(self, show: Show) -> None:
        self._show = show

    def begin(self, retry_ms: int) -> bytes:
        return b""

    def event(self, event: Event) -> bytes:
        shown = self._show(event)
        return b"" if shown is None else str(shown).encode(errors="replace")

    def notice(self, notice: Notice) -> bytes:
        return b""

    def end(self, error: dict[str, Any] | None) -> bytes:
        return b"" if error is None else f"Error: {error['message']}\n".encode(errors="replace")
