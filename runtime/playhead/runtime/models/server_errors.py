"""Reads errors that servers report inside a response with status 200, in every known form. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.core.faults import TRANSIENT_STATUSES

__all__ = ["broken_off", "error_words", "not_understood", "server_error"]

MAX_WORDS: Final = 1000
"""How many characters of a server's words an error repeats."""

_WORDS: Final = ("message", "detail", "msg", "error_message", "error_msg", "errorMessage", "status_msg", "reason")
_CODES: Final = ("code", "type", "status", "error_code")
_STATUSES: Final = ("code", "status", "status_code", "statusCode", "error_code")
_WAITS: Final = ("retry_after", "retryAfter")
_ERRORS: Final = ("error", "errors", "fault", "exception")
_PERMANENT: Final = re.compile(
    "invalid|not_?found|authenti|permission|forbidden|unauthori|insufficient_quota|billing|unsupported|context_length",
    re.IGNORECASE,
)
_RATE_LIMIT: Final = re.compile(r"rate.?limit|too many requests", re.IGNORECASE)


def server_error(event: Mapping[str, Any], *, named_error: bool = False) -> ModelResponseError | None:
    """The error that an event reports; None if it reports none.

    Args:
        event: The object that the server sent.
        named_error: Whether the server named the event `error`: then it is one, whatever it holds.
    """
    for key in _ERRORS:
        if body := event.get(key):
            return _error(body, event)
    status: Any = event.get("base_resp")  # MiniMax: in every event, with status code 0 if all is well
    if isinstance(status, Mapping) and cast("Mapping[str, Any]", status).get("status_code"):
        return _error(status, event)
    kinds = (event.get("object"), event.get("type"), event.get("status"))
    if named_error or any(isinstance(kind, str) and kind.lower() in ("error", "failed") for kind in kinds):
        return _error(event, {})
    if event.get("choices"):
        return None
    if event.get("success") is False or event.get("detail") or _status(event) is not None:
        return _error(event, {})
    if any(_is_text(event.get(key)) for key in _WORDS):
        return _error(event, {})
    return None


def not_understood(what: str, given: Any) -> ModelResponseError:
    """The error for a part of a response that this provider cannot handle, with the server's words."""
    return ModelResponseError(f"the server sent {what}: {error_words(given)}")


def broken_off(word: str, *places: Any) -> ModelResponseError:
    """The error for a finish reason that says that the message broke off, with the server's words in `places`."""
    said = next((error_words(place) for place in places if place), "")
    return ModelResponseError(
        f"the server broke its answer off with finish reason {word!r}{': ' if said else ''}{said}",
        code=word,
        transient=True,
    )


def error_words(body: Any) -> str:
    """A server's words in an error body of any form, at most `MAX_WORDS` characters."""
    words = _words(body, 0)
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


def _words(body: Any, depth: int) -> str:
    if isinstance(body, str):
        return body.strip()
    if depth < 8 and isinstance(body, list) and body:
        return "; ".join(_words(each, depth + 1) for each in cast("list[Any]", body))
    if depth < 8 and isinstance(body, Mapping):
        fields = cast("Mapping[str, Any]", body)
        for key in (*_ERRORS, *_WORDS):
            if fields.get(key):
                return _words(fields[key], depth + 1) + _raw(fields)
    try:
        return json.dumps(body, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return f"({type(body).__name__} that has no JSON form)"


def _raw(fields: Mapping[str, Any]) -> str:
    """The words of the server that a gateway called, as OpenRouter gives them."""
    metadata: Any = fields.get("metadata")
    raw: Any = cast("Mapping[str, Any]", metadata).get("raw") if isinstance(metadata, Mapping) else None
    return f" ({_words(raw, 8)})" if raw else ""


def _error(body: Any, around: Mapping[str, Any]) -> ModelResponseError:
    fields = cast("Mapping[str, Any]", body) if isinstance(body, Mapping) else {}
    places = (fields, around)
    words = error_words(body)
    status = next((found for place in places if (found := _status(place)) is not None), None)
    code = next((str(place[key]) for place in places for key in _CODES if _is_code(place.get(key))), None)
    if status is None and code is None and _RATE_LIMIT.search(words):
        status = 429
    waits = (place.get(key) for place in places for key in _WAITS)
    return ModelResponseError(
        f"the server reported an error inside its response: {words}",
        status=status,
        code=code,
        retry_after=next((float(wait) for wait in waits if isinstance(wait, int | float)), None),
        transient=not _is_permanent(status, code or ""),
    )


def _is_permanent(status: int | None, code: str) -> bool:
    if status is None or code == "insufficient_quota":
        return bool(_PERMANENT.search(code))
    return status not in TRANSIENT_STATUSES


def _status(fields: Mapping[str, Any]) -> int | None:
    for key in _STATUSES:
        value = fields.get(key)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _is_code(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value not in ("", "error", 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
