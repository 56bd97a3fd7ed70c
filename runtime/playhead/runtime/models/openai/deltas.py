"""Reads the deltas of a streamed message in all known forms. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, cast

from playhead.runtime.models.server_errors import not_understood

__all__ = ["REASONING_FIELDS", "Piece", "calls_of", "details_of", "merged_details", "reasoning_of", "text_of"]

Piece = tuple[Literal["text", "reasoning"], str]

REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thinking_content")
_REASONING_PARTS: Final = ("thinking", "reasoning", "reasoning_text", "reasoning.text", "reasoning.summary")
_PASSED_OVER: Final = ("reference", "annotation", "annotations")
"""Kinds of parts that point into the text, such as Mistral's references, and hold no text of their own."""


def text_of(content: Any) -> Iterator[Piece]:
    """The text and the reasoning of `content`, or of a part of it: a str, a part, or a list of these.

    Raises:
        ModelResponseError: If a part is of an unknown kind.
    """
    if isinstance(content, str):
        yield "text", content
    elif isinstance(content, list):
        for part in cast("list[Any]", content):
            yield from text_of(part)
    elif isinstance(content, Mapping):
        yield from _part(cast("Mapping[str, Any]", content))
    elif content is not None:
        raise not_understood("content that is not text", content)


def _part(part: Mapping[str, Any]) -> Iterator[Piece]:
    kind = part.get("type")
    if kind in _REASONING_PARTS:
        said = next((part[key] for key in ("thinking", "reasoning", "text", "summary", "content") if part.get(key)), "")
        for _, text in text_of(said):
            yield "reasoning", text
    elif kind == "refusal":
        yield from text_of(part.get("refusal"))
    elif isinstance(part.get("text"), str):
        yield "text", part["text"]
    elif isinstance(part.get("text"), Mapping):  # {"text": {"value": …}}
        yield from text_of(cast("Mapping[str, Any]", part["text"]).get("value"))
    elif isinstance(part.get("content"), str | list):
        yield from text_of(part["content"])
    elif kind not in _PASSED_OVER:
        raise not_understood(f"a part of content of kind {kind!r}", dict(part))


def reasoning_of(delta: Mapping[str, Any]) -> tuple[str, str]:
    """The field in which a delta gives reasoning, and the reasoning; both empty without any.

    Servers that change the name of the field send it under both, so only one is taken.
    """
    for name in REASONING_FIELDS:
        if value := delta.get(name):
            if type(value) is str:
                return name, value
            return name, "".join(text for _, text in text_of(value))
    said = "".join(str(detail.get("text") or detail.get("summary") or "") for detail in details_of(delta))
    return ("reasoning", said) if said else ("", "")


def details_of(delta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """OpenRouter's `reasoning_details`, some of which are encrypted."""
    details: Any = delta.get("reasoning_details")
    found = cast("list[Any]", details) if isinstance(details, list) else []
    return [cast("dict[str, Any]", each) for each in found if isinstance(each, dict)]


def merged_details(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The details in the form that is sent back: the pieces of each detail joined, by its kind and index."""
    merged: list[dict[str, Any]] = []
    for detail in details:
        before = merged[-1] if merged else {}
        if "index" not in detail or any(before.get(key) != detail.get(key) for key in ("type", "index")):
            merged.append(dict(detail))
            continue
        for key, value in detail.items():
            if key in ("text", "summary", "data") and isinstance(value, str):
                before[key] = (before.get(key) or "") + value
            elif value is not None:
                before[key] = value
    return merged


def calls_of(delta: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tool calls of a delta: a list, one object, or the older `function_call`.

    Raises:
        ModelResponseError: If a call is not an object.
    """
    given: Any = delta.get("tool_calls")
    for call in cast("list[Any]", given) if isinstance(given, list) else [given] if given else []:
        if not isinstance(call, Mapping):
            raise not_understood("a tool call that is not an object", call)
        yield cast("Mapping[str, Any]", call)
    older: Any = delta.get("function_call")
    if isinstance(older, Mapping) and older:
        yield {"function": older}
