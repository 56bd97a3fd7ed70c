"""Content blocks: those that a history may hold, and the conversion from other APIs' forms. Pure.

A history holds Converse's blocks, one kind each. Callers and tools may also pass the blocks of MCP, OpenAI and
Anthropic. A block with the same meaning is converted; any other block is refused with a reason.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import ContentBlock
from playhead.runtime.core.json_lines import json_line, json_ready

__all__ = ["FORMATS", "IN_MESSAGES", "IN_RESULTS", "UnsendableError", "as_list", "converted", "is_block", "readable"]

IN_MESSAGES: Final = (
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "guardContent",
    "cachePoint",
    "citationsContent",
)
"""The kinds of block that a message may hold."""

IN_RESULTS: Final = ("text", "json", "image", "document", "video", "audio", "citationsContent", "cachePoint")
"""The kinds of block that a tool's result may hold."""

_MEDIA: Final = ("image", "document", "video", "audio")

FORMATS: Final = {
    "image/png": ("image", "png"),
    "image/jpeg": ("image", "jpeg"),
    "image/jpg": ("image", "jpeg"),
    "image/gif": ("image", "gif"),
    "image/webp": ("image", "webp"),
    "application/pdf": ("document", "pdf"),
    "text/csv": ("document", "csv"),
    "text/html": ("document", "html"),
    "text/plain": ("document", "txt"),
    "text/markdown": ("document", "md"),
    "application/msword": ("document", "doc"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("document", "docx"),
    "application/vnd.ms-excel": ("document", "xls"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ("document", "xlsx"),
}
"""Converse's kind and format for each media type. Not taken from `mimetypes`, which depends on the machine."""


class UnsendableError(Exception):
    """A block that no history may hold. The message continues `<where>` and says what to pass instead.

    Attributes:
        path: Where in the block the problem is.
    """

    def __init__(self, reason: str, *, path: str = "") -> None:
        self.path = path
        super().__init__(reason)


def is_block(item: Mapping[str, Any]) -> bool:
    """Whether `value` looks like a message's block: one of Converse, or one with a `type`, as in other APIs."""
    return any(kind in item for kind in IN_MESSAGES) or ("role" not in item and isinstance(item.get("type"), str))


def as_list(content: object, *, kinds: tuple[str, ...]) -> list[ContentBlock]:
    """The content of a message or a result as a list of blocks; a string becomes one block.

    Raises:
        UnsendableError: If the content is neither a string nor a list of blocks, or if one of the blocks is refused.
    """
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, list | tuple):
        raise UnsendableError(f"is {_kind_of(content)}; give a text or a list of blocks such as {{'text': …}}")
    found: list[ContentBlock] = []
    for index, block in enumerate(cast("list[object]", content)):
        try:
            found += converted(block, kinds=kinds)
        except UnsendableError as error:
            error.path = f"[{index}]{error.path}"
            raise
    return found


def converted(block: object, *, kinds: tuple[str, ...]) -> list[ContentBlock]:
    """Convert one block to blocks that a history may hold, each of one of `kinds`. A block of several kinds becomes several.

    Raises:
        UnsendableError: If the block has none of these kinds and is not a known form of another API.
    """
    if not isinstance(block, dict):
        raise UnsendableError(f"is {_kind_of(block)}; give a block such as {{'text': …}}")
    given = cast("dict[str, Any]", block)
    found = [kind for kind in given if kind in kinds]
    if not found:
        return _foreign(given, kinds)
    checked = {kind: _checked(kind, given[kind]) for kind in found}
    if len(found) == 1 and "type" not in given:  # what a provider added to its own block goes back to it
        return [{**given, **checked}]
    return [{kind: value} for kind, value in checked.items()]


def readable(block: object, *, kinds: tuple[str, ...]) -> list[ContentBlock]:
    """Like `converted` for plain data, but never raises: a refused block becomes a text block for the model.

    The text is the value's JSON if only the form of the block is wrong, and otherwise says what is missing.
    """
    try:
        return converted(block, kinds=kinds)
    except UnsendableError as error:
        given = cast("dict[str, Any]", block) if isinstance(block, dict) else {"text": block}
        if "toolResult" in given and error.path.startswith("['toolResult']['content']"):
            return [{"toolResult": _readable_result(cast("dict[str, Any]", given["toolResult"]))}]
        if "text" in given:
            return [{"text": given["text"] if isinstance(given["text"], str) else json_line(given["text"])}]
        if "json" in kinds and given and "type" not in given and not error.path:
            return [{"json": json_ready(given)}]
        return [{"text": f"[A part that cannot be given to a model: it {error}]"}] if given else []


def _readable_result(result: dict[str, Any]) -> dict[str, Any]:
    content = result["content"]
    blocks = cast("list[object]", content) if isinstance(content, list) else [content]
    return {**result, "content": [made for block in blocks for made in readable(block, kinds=IN_RESULTS)]}


def _checked(kind: str, value: Any) -> Any:
    try:
        return _CHECKS.get(kind, _as_given)(value)
    except UnsendableError as error:
        error.path = f"['{kind}']{error.path}"
        raise


def _as_given(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise UnsendableError(f"is {_kind_of(value)}; a text block holds a text")


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise UnsendableError(f"is {_kind_of(value)}; it must be a dict, as in Converse")


def _media(value: Any) -> dict[str, Any]:
    """`{"format", "source"}`; the bytes may also be a base64 string, as they are in JSON."""
    media = _mapping(value)
    source = media.get("source")
    if not isinstance(source, dict) or not source:
        raise UnsendableError("has no source; give {'format': 'png', 'source': {'bytes': …}}")
    held = cast("dict[str, Any]", source)
    if "bytes" not in held:  # by location: some providers take it
        return media
    data = _bytes(held["bytes"])
    form = media.get("format") or _format_of(data)
    if not isinstance(form, str):
        raise UnsendableError("has no format; give {'format': 'png', 'source': {'bytes': …}}")
    return {**media, "format": form, "source": {**held, "bytes": data}}


def _format_of(data: bytes) -> str | None:
    """The format of an image, recognised by its first bytes."""
    starts = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
    return next((form for start, form in starts.items() if data.startswith(start)), None)


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("data")
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise UnsendableError(f"holds {_kind_of(value)} that is not base64; give bytes") from None


def _tool_use(value: Any) -> dict[str, Any]:
    use = _mapping(value)
    if not isinstance(use.get("toolUseId"), str) or not isinstance(use.get("name"), str) or "input" not in use:
        raise UnsendableError("is not a tool call; give {'toolUseId': …, 'name': …, 'input': {…}}")
    return use


def _tool_result(value: Any) -> dict[str, Any]:
    result = _mapping(value)
    if not isinstance(result.get("toolUseId"), str) or "content" not in result:
        raise UnsendableError("is not a tool result; give {'toolUseId': …, 'status': 'success', 'content': […]}")
    try:
        content = as_list(result["content"], kinds=IN_RESULTS)
    except UnsendableError as error:
        error.path = f"['content']{error.path}"
        raise
    status = result.get("status", "success")
    return {**result, "status": status if status in ("success", "error") else "success", "content": content}


_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "text": _text,
    "json": json_ready,
    **dict.fromkeys(_MEDIA, _media),
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _mapping,
    "guardContent": _mapping,
    "citationsContent": _mapping,
}


def _foreign(block: dict[str, Any], kinds: tuple[str, ...]) -> list[ContentBlock]:
    """Convert a block of MCP, OpenAI or Anthropic, which names its kind in `type`."""
    form = block.get("type")
    made = _FOREIGN[form](block) if isinstance(form, str) and form in _FOREIGN else None
    if made is not None:
        return [{kind: _checked(kind, value)} for kind, value in made.items() if kind in kinds]
    if not block:
        raise UnsendableError("is an empty block; give one of " + ", ".join(kinds))
    what = f"of type {form!r}" if isinstance(form, str) else "of " + "/".join(map(str, block))
    raise UnsendableError(f"is a block {what}; give one of {', '.join(kinds)}"[:400])


def _foreign_image(block: Mapping[str, Any]) -> ContentBlock | None:
    """MCP's `{data, mimeType}`, or Anthropic's `{source: {type: base64, media_type, data}}`."""
    source = block.get("source")
    held = cast("Mapping[str, Any]", source) if isinstance(source, dict) else block
    return _by_media_type(held.get("mimeType") or held.get("media_type"), held.get("data"))


def _by_media_type(media_type: Any, data: Any) -> ContentBlock | None:
    known = FORMATS.get(str(media_type).partition(";")[0].strip().lower())
    if known is None or data is None:
        return None
    kind, form = known
    name: dict[str, Any] = {"name": "document"} if kind == "document" else {}
    return {kind: {"format": form, **name, "source": {"bytes": _bytes(data)}}}


def _image_url(block: Mapping[str, Any]) -> ContentBlock | None:
    """Convert OpenAI's image block; only a data URL holds the image itself."""
    given = block.get("image_url")
    url = cast("Mapping[str, Any]", given).get("url") if isinstance(given, dict) else given
    head, _, data = str(url).partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return _by_media_type(head.removeprefix("data:").removesuffix(";base64"), data)


def _resource(block: Mapping[str, Any]) -> ContentBlock | None:
    """Convert MCP's embedded resource: to its text, or to its bytes if their media type is known."""
    given = block.get("resource")
    resource = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
    if isinstance(text := resource.get("text"), str):
        return {"text": text}
    return _by_media_type(resource.get("mimeType"), resource.get("blob"))


def _resource_link(block: Mapping[str, Any]) -> ContentBlock:
    named = [str(block[key]) for key in ("name", "uri", "description") if block.get(key)]
    return {"text": f"[a resource: {', '.join(named)}]"}


_FOREIGN: Final[dict[str, Callable[[Mapping[str, Any]], ContentBlock | None]]] = {
    "image": _foreign_image,
    "image_url": _image_url,
    "input_image": _image_url,
    "document": _foreign_image,
    "resource": _resource,
    "resource_link": _resource_link,
}


def _kind_of(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
