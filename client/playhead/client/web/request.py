"""What a request asks for: the form of the answer, and the place in the run. Pure."""

from __future__ import annotations

from typing import Final, Literal

from playhead.runtime.core.cursor import Cursor, parse_cursor

__all__ = ["Media", "asked_cursor", "asked_media"]

Media = Literal["sse", "jsonl", "text"]
"""The form of a response: server-sent events, JSON lines or plain text."""

_RANGES: Final[dict[str, Media]] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "text/plain": "text",
    "text/*": "sse",
    "application/*": "jsonl",
    "*/*": "sse",
}
_LONGEST_CURSOR: Final = 200  # a run id has up to 128 characters


def asked_media(accept: str) -> Media | None:
    """The form that an `Accept` header prefers, the first of equals; None if it accepts none of ours.

    An empty header accepts all.
    """
    best: tuple[float, Media | None] = (0.0, None)
    for one in (accept or "*/*").lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        media, quality = _RANGES.get(kind), _quality(parameters)
        if media is not None and quality > best[0]:
            best = quality, media
    return best[1]


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def asked_cursor(run_id: str, given: str) -> Cursor | None:
    """The cursor in the id of a server-sent event, `RUN:CURSOR`, or in a bare cursor; None if nothing is given.

    Raises:
        ValueError: If it is not a cursor, or is one of another run.
    """
    if not given:
        return None
    if len(given) > _LONGEST_CURSOR:
        raise ValueError(f"{given[:40]!r}… is not a cursor: it has {len(given)} characters")
    of, colon, cursor = given.rpartition(":")
    parse_cursor(cursor)
    if colon and of != run_id:
        raise ValueError(f"{given!r} is a cursor of run {of}, not of run {run_id}: leave it out to begin with record 1")
    return cursor
