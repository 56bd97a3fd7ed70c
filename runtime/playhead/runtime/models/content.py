"""Reads content blocks as any history may hold them: text, JSON, and the bytes of images and documents. Pure.

The wires share it. A request can be built from any stored history, because an error here would fail every later run of
that session; so a block that a wire cannot carry becomes a sentence that says what was there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.blocks import FORMATS
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.plain import plain

__all__ = [
    "Medium",
    "blocks",
    "bytes_of",
    "fields_of",
    "guarded",
    "inner",
    "json_text",
    "medium",
    "not_sent",
    "said",
    "sentence",
    "text_of",
]

_TYPES: Final = {
    kind: {form: media_type for media_type, (of, form) in reversed(FORMATS.items()) if of == kind}
    for kind in ("image", "document")
}
"""The media type of each of Converse's formats; if there are several, the first in `FORMATS`."""

_LOCATIONS: Final = ("location", "s3Location", "url", "uri")


class Medium(NamedTuple):
    """An image or a document with its bytes.

    Attributes:
        name: A document's name; empty without one.
        media_type: Such as `image/png`.
    """

    data: bytes
    media_type: str
    name: str

    @property
    def base64(self) -> str:
        """The bytes in base64."""
        return base64.b64encode(self.data).decode()

    @property
    def url(self) -> str:
        """The bytes as a data URL."""
        return f"data:{self.media_type};base64,{self.base64}"


def medium(value: Any, kind: str, *, held: bool = True) -> Medium | str:
    """An image or a document with its bytes; a document given as text, and one that cannot be sent, as text.

    Args:
        value: The value under `image` or `document` of a block.
        kind: `image` or `document`.
        held: Whether the message may hold it; one of the assistant may not.
    """
    name, form = inner(value, "name"), str(inner(value, "format") or "").lower()
    what = f"{'An image' if kind == 'image' else f'The document {name!r}'}{f' ({form})' if form else ''}"
    source = inner(value, "source")
    if kind == "document" and (text := inner(source, "text") or "\n".join(_texts(inner(source, "content")))):
        return f"{name or 'document'}:\n{text}"
    if isinstance(source, Mapping) and any(key in source for key in _LOCATIONS):
        return sentence(what, "given by its location; this model takes it by value only")
    data = bytes_of(inner(source, "bytes"))
    if not data:
        return sentence(what, "without any bytes")
    media_type = _TYPES[kind].get("jpeg" if form == "jpg" else form)
    if media_type is None:
        return sentence(what, "in a format that this model cannot take")
    if not held:
        return sentence(what, "which a message of the assistant cannot hold")
    return Medium(data, media_type, str(name or ""))


def said(block: Any) -> str | None:
    """The text of a block of text, JSON or cited text, or of a value that is not a block; None for any other block."""
    if not isinstance(block, Mapping):
        return block if isinstance(block, str) else sentence(f"A value of type {type(block).__name__}")
    fields = cast("Mapping[str, Any]", block)
    if "text" in fields:
        return text_of(fields["text"])
    if "json" in fields:
        return json_text(fields["json"])
    if "citationsContent" in fields:
        return "".join(_texts(inner(fields["citationsContent"], "content")))
    return None


def guarded(value: Any) -> dict[str, Any]:
    """What a guardrail was given, as a block of text or an image; `value` is that under `guardContent` of a block."""
    text = inner(inner(value, "text"), "text")
    return {"text": text} if isinstance(text, str) else {"image": inner(value, "image")}


def not_sent(block: Mapping[str, Any]) -> str:
    """The sentence that replaces a block of a kind that a wire does not have."""
    kinds = "/".join(str(key) for key in block)
    return sentence(f"A block of {kinds}" if kinds else "An empty block")


def sentence(what: str, why: str = "which this model cannot take") -> str:
    """The sentence that replaces a block that cannot be sent."""
    return f"[{what} was here, {why}.]"


def text_of(text: Any) -> str:
    """Any value under `text` as text."""
    return text if isinstance(text, str) else "" if text is None else str(text)


def json_text(value: Any) -> str:
    """A value as JSON by the rule of `core.json_lines`. Anything in it that is not plain data is converted first."""
    try:
        return json_line(value)
    except (TypeError, ValueError, RecursionError):
        return json_line(plain(value))


def blocks(content: Any) -> list[dict[str, Any]]:
    """The blocks of a message; text alone counts as one."""
    if content is None:
        return []
    given = cast("list[Any]", content) if isinstance(content, list | tuple) else [content]
    return [fields_of(block) if isinstance(block, Mapping) else {"text": block} for block in given]


def fields_of(value: Any) -> dict[str, Any]:
    """A mapping; an empty one for any other value."""
    return cast("dict[str, Any]", value) if isinstance(value, Mapping) else {}


def inner(holder: Any, key: str) -> Any:
    """The value under a key of a mapping; None for any other value."""
    return cast("Mapping[str, Any]", holder).get(key) if isinstance(holder, Mapping) else None


def _texts(pieces: Any) -> list[str]:
    found = cast("list[Any]", pieces) if isinstance(pieces, list) else []
    return [text for piece in found if isinstance(text := inner(piece, "text"), str)]


def bytes_of(value: Any) -> bytes:
    """The bytes of a source, which may also be in their JSON form."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(cast("bytes", value))
    data = inner(value, "data")
    if inner(value, "__bytes_encoded__") and isinstance(data, str):
        try:
            return base64.b64decode(data)
        except binascii.Error:
            return b""
    return b""
