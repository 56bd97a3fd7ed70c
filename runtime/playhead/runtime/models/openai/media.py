"""Converts content blocks to parts of a chat message; a block that cannot be sent becomes a sentence that says so. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.blocks import FORMATS
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.plain import plain

__all__ = ["json_text", "part", "sentence"]

_NOT_SENT: Final = ("cachePoint", "reasoningContent")
_TYPES: Final = {
    kind: {form: media_type for media_type, (of, form) in reversed(FORMATS.items()) if of == kind}
    for kind in ("image", "document")
}
"""The media type of each of Converse's formats; if there are several, the first in `FORMATS`."""


def part(block: Any, *, media: bool = True) -> dict[str, Any] | None:
    """The part of a message for one block; None for a block that holds nothing for a model.

    Args:
        block: Any value. One that cannot be sent becomes a text part that says so.
        media: Whether the message may hold images and documents; one of the assistant may not.
    """
    if not isinstance(block, Mapping):
        return _text(block if isinstance(block, str) else sentence(f"A value of type {type(block).__name__}"))
    fields = cast("Mapping[str, Any]", block)
    if "text" in fields:
        return _text(fields["text"])
    if "json" in fields:
        return _text(json_text(fields["json"]))
    if "citationsContent" in fields:
        return _text("".join(_texts(_inner(fields["citationsContent"], "content"))))
    if "guardContent" in fields:
        return _guarded(fields["guardContent"], media=media)
    for kind in _TYPES:
        if kind in fields:
            return _medium(fields[kind], kind, media=media)
    if any(key in fields for key in _NOT_SENT):
        return None
    kinds = "/".join(str(key) for key in fields)
    return _text(sentence(f"A block of {kinds}" if kinds else "An empty block"))


def sentence(what: str, why: str = "which this model cannot take") -> str:
    """The sentence that replaces a block that cannot be sent."""
    return f"[{what} was here, {why}.]"


def json_text(value: Any) -> str:
    """A value as JSON by the rule of `core.json_lines`. Anything in it that is not plain data is converted first."""
    try:
        return json_line(value)
    except (TypeError, ValueError, RecursionError):
        return json_line(plain(value))


def _text(text: Any) -> dict[str, Any]:
    return {"type": "text", "text": text if isinstance(text, str) else "" if text is None else str(text)}


def _guarded(guarded: Any, *, media: bool) -> dict[str, Any] | None:
    text = _inner(_inner(guarded, "text"), "text")
    return part({"text": text} if isinstance(text, str) else {"image": _inner(guarded, "image")}, media=media)


def _medium(medium: Any, kind: str, *, media: bool) -> dict[str, Any]:
    """An image or a document as a part with its bytes."""
    name, form = _inner(medium, "name"), str(_inner(medium, "format") or "").lower()
    what = f"{'An image' if kind == 'image' else f'The document {name!r}'}{f' ({form})' if form else ''}"
    source = _inner(medium, "source")
    if kind == "document" and (said := _inner(source, "text") or "\n".join(_texts(_inner(source, "content")))):
        return _text(f"{name or 'document'}:\n{said}")
    if isinstance(source, Mapping) and any(key in source for key in ("location", "s3Location", "url", "uri")):
        return _text(sentence(what, "given by its location; this model takes it by value only"))
    data = _bytes(_inner(source, "bytes"))
    if not data:
        return _text(sentence(what, "without any bytes"))
    mime = _TYPES[kind].get("jpeg" if form == "jpg" else form)
    if mime is None:
        return _text(sentence(what, "in a format that this model cannot take"))
    if not media:
        return _text(sentence(what, "which a message of the assistant cannot hold"))
    url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": str(name or "document"), "file_data": url}}


def _inner(holder: Any, key: str) -> Any:
    return cast("Mapping[str, Any]", holder).get(key) if isinstance(holder, Mapping) else None


def _texts(pieces: Any) -> list[str]:
    found = cast("list[Any]", pieces) if isinstance(pieces, list) else []
    return [text for piece in found if isinstance(text := _inner(piece, "text"), str)]


def _bytes(value: Any) -> bytes:
    """The bytes of a source, which may also be in their JSON form."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(cast("bytes", value))
    data = _inner(value, "data")
    if _inner(value, "__bytes_encoded__") and isinstance(data, str):
        try:
            return base64.b64decode(data)
        except binascii.Error:
            return b""
    return b""
