"""Prompts and messages of a session in the forms of frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from playhead.runtime.core.converse import ContentBlock, Message

__all__ = ["parts_of", "text_of"]


def text_of(message: Message) -> str:
    """The texts of a message, a line each."""
    return "\n".join(block["text"] for block in message.get("content", []) if "text" in block)


def parts_of(
    blocks: Iterable[ContentBlock], *, of: str, has: str, text: Callable[[str], Any], file: Callable[[str, bytes], Any]
) -> list[Any]:
    """The blocks of a prompt, which are those of the Converse API, in the form of a framework.

    Args:
        blocks: The blocks.
        of: The framework, for people.
        has: What its prompts have: texts, images, documents.
        text: Makes a part of a text.
        file: Makes a part of the media type and the bytes of an image or a document.

    Raises:
        ValueError: For another block; the message names it.
    """
    parts: list[Any] = []
    for block in blocks:
        kind = next(iter(block), "an empty block")
        match block.get(kind):
            case str(said) if kind == "text":
                parts.append(text(said))
            case {"format": str(form), "source": {"bytes": bytes(data)}} if f"{kind}s" in has:
                parts.append(file(_media_type(kind, form), data))
            case _:
                raise ValueError(f"a prompt for {of} has {has}, and this one has {kind!r:.80}")
    return parts


def _media_type(kind: str, form: str) -> str:
    if kind == "image":
        return f"image/{form}"
    return "text/plain" if form == "txt" else f"application/{form}"
