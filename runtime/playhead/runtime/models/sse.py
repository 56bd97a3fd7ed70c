"""Decodes the bytes of a server-sent event stream into events. Pure.

The SDK's decoder passes an event without data on as one with empty data, and then fails to read it as JSON. It also
drops lines that are not part of an event, which is how a server that ignores `stream` sends its whole answer.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["EventDecoder", "ServerEvent"]

_FIELD: Final = re.compile(rb"[A-Za-z0-9_-]+\Z")
_BOM: Final = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event that has data.

    Attributes:
        name: Its `event:` field; empty without one.
        data: Its `data:` lines, joined by line breaks.
    """

    name: str
    data: str


class EventDecoder:
    """Takes the bytes of one stream, in any pieces.

    Events without data (`retry:`, `id:`, `event:` alone, empty `data:`) and comments are skipped, as the standard says.
    The last event counts even if no blank line follows it.

    Attributes:
        stray: The lines that are not part of an event, such as those of a JSON body.
    """

    def __init__(self) -> None:
        self.stray: list[str] = []
        self._parts: list[bytes] = []
        self._name = ""
        self._data: list[str] = []
        self._begun = False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Process bytes, and return the events that are now complete.

        Raises:
            UnicodeDecodeError: If a line is not UTF-8.
        """
        if b"\n" not in data and b"\r" not in data:  # the middle of a long line
            self._parts.append(data)
            return []
        self._parts.append(data)
        text = b"".join(self._parts)
        held = b""
        if b"\r" in data or text[:1] == b"\n" or b"\r" in text:
            if text.endswith(b"\r"):  # its line feed may come in the next piece
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._parts = [lines.pop() + held]
        return self._events(lines)

    def finish(self) -> list[ServerEvent]:
        """The event that the stream's end completes, if any."""
        rest = b"".join(self._parts)
        self._parts = []
        return self._events([rest.removesuffix(b"\r"), b""])

    def _events(self, lines: list[bytes]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if line:
                self._take(line)
                continue
            if any(self._data):
                events.append(ServerEvent(self._name, "\n".join(self._data)))
            self._name, self._data = "", []
        return events

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode())
        elif field == b"event":
            self._name = value.decode().strip()
        elif field and not _FIELD.match(field):  # the standard ignores unknown fields; this is not a field
            self.stray.append(line.decode())
