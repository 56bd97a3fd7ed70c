"""Converts content blocks to parts of a chat message; a block that cannot be sent becomes a sentence that says so. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.models.content import Medium, guarded, medium, not_sent, said

__all__ = ["part"]

_NOT_SENT: Final = ("cachePoint", "reasoningContent")


def part(block: Any, *, media: bool = True) -> dict[str, Any] | None:
    """The part of a message for one block; None for a block that holds nothing for a model.

    Args:
        block: Any value. One that cannot be sent becomes a text part that says so.
        media: Whether the message may hold images and documents; one of the assistant may not.
    """
    if (text := said(block)) is not None:
        return _text(text)
    fields = cast("Mapping[str, Any]", block)
    if "guardContent" in fields:
        return part(guarded(fields["guardContent"]), media=media)
    for kind in ("image", "document"):
        if kind in fields:
            found = medium(fields[kind], kind, held=media)
            return _text(found) if isinstance(found, str) else _medium(found, kind)
    if any(key in fields for key in _NOT_SENT):
        return None
    return _text(not_sent(fields))


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _medium(found: Medium, kind: str) -> dict[str, Any]:
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": found.url}}
    return {"type": "file", "file": {"filename": found.name or "document", "file_data": found.url}}
