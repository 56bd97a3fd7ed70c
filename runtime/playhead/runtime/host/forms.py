"""The forms in which what a guest gives is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel

from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.plain import NotPlainError, plain, plain_strict
from playhead.runtime.core.records import EventEmitted, MessageAdded, Record, StepFinished

__all__ = [
    "VARIES",
    "Form",
    "closing",
    "digest",
    "is_storable",
    "is_text_delta",
    "shown",
    "steady",
    "stored_form",
    "usage_of",
]

VARIES: Final = frozenset({"timestamp", "tracking_id"})
"""Keys whose values are made up each time: they need not be the same when the guest runs again."""


class Form(NamedTuple):
    """How objects of a framework are stored: the items of a model's stream, or what a tool gives.

    Attributes:
        dump: An object as plain data. Nothing in it that can change is part of the object, which the code may change.
        load: The object again.
        usage: The tokens that an item of a stream tells of, as for `usage_of`; None if it tells of none.
        text: The text of what a tool gave, of the plain data that it was dumped as: readers and other agents see the text. None if
            it is not just a text.
    """

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    usage: Callable[[Any], Any] = lambda item: None
    text: Callable[[Any], str | None] = lambda said: None


def usage_of(taken: Any) -> dict[str, int]:
    """Tokens that a framework tells of in the fields, or the keys, `input_tokens` and `output_tokens`."""
    names = ("input_tokens", "output_tokens")
    asked, said = (taken.get(name, 0) if isinstance(taken, Mapping) else getattr(taken, name) for name in names)
    return {"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said}


def stored_form(value: object, *, what: str) -> Any:
    """A value as it is stored, and as the guest gets it: plain data, pydantic models as dicts.

    Raises:
        EncodingError: If it is something else; the message names `what` and the place in it.
    """
    try:
        return plain_strict(value.model_dump() if isinstance(value, BaseModel) else value)
    except NotPlainError as error:
        raise EncodingError(
            f"{what} cannot be stored: {error}. Use text, numbers, bytes, lists and dicts with text keys"
        ) from error


def is_text_delta(item: Any) -> bool:
    """Whether an item is a text delta of the Converse API, `{"contentBlockDelta": {"delta": {"text": "…"}}}`, and plain data.

    Most items of a stream are. It need not be copied to be stored.
    """
    if type(item) is not dict or len(item) != 1:
        return False
    block = item.get("contentBlockDelta")
    if type(block) is not dict or len(block) != 1:
        return False
    delta = block.get("delta")
    if type(delta) is not dict or len(delta) != 1:
        return False
    text = delta.get("text")
    return type(text) is str and text.isascii()


def is_storable(value: Any, depth: int = 4) -> bool:
    """Whether a value is plain data for sure, which a look tells in a quarter of the time of a copy: what is deep or has text
    that is not ASCII is left to a copy.
    """
    kind: type = type(value)
    if kind is str:
        return cast("str", value).isascii()
    if kind is not dict and kind is not list:
        return value is None or kind is int or kind is float or kind is bool
    if depth == 0:
        return False
    if kind is list:
        return all(is_storable(item, depth - 1) for item in cast("list[Any]", value))
    for key, item in cast("dict[Any, Any]", value).items():
        if type(key) is not str or not is_storable(item, depth - 1):
            return False
    return True


def shown(record: Record) -> str:
    """A record in an error: its type, and what tells it from others."""
    match record:
        case EventEmitted(event=event):
            return f"the event {event!r:.300}"
        case MessageAdded(message=message):
            return f"the message {message!r:.300}"
        case StepFinished(key=key):
            return f"the value of {key.lstrip('/')}"
        case _:
            fields = dict(record)
            what = fields.get("tool_use") or fields.get("lane") or ""
            return f"{record.type} {what!r:.200}" if what else record.type


def digest(request: object) -> str:
    """A short text that is the same for equal requests; when their messages were made does not count."""
    text = json.dumps(steady(plain(request)), sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def steady(value: Any, varies: frozenset[str] = VARIES) -> Any:
    """Plain data without the keys whose values are made up each time."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: steady(item, varies) for key, item in fields.items() if key not in varies}
    return [steady(item, varies) for item in cast("list[Any]", value)] if isinstance(value, list) else value


@asynccontextmanager
async def closing(stream: AsyncIterable[Any]) -> AsyncGenerator[AsyncIterable[Any]]:
    """Close a stream at the end of the block, if it can be closed."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
