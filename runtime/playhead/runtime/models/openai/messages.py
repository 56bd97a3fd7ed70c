"""Converts Converse-shaped messages, tools and tool choice to a request of OpenAI's Chat Completions API. Pure."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Sequence
from typing import Any, cast

from playhead.runtime.core.converse import ContentBlock, Message, Messages, ToolChoice, ToolSpec

__all__ = ["chat_messages", "chat_request", "chat_tool_choice", "chat_tools"]

_NOT_SENT = ("reasoningContent", "cachePoint", "toolUse", "toolResult")
"""Blocks that are not sent as content: the API does not accept reasoning, and has other fields for tools."""

_SUPPORTED = "text, image, document, toolUse, toolResult"


def chat_request(
    messages: Messages,
    tool_specs: list[ToolSpec] | None = None,
    system_prompt: str | None = None,
    *,
    tool_choice: ToolChoice | None = None,
) -> dict[str, Any]:
    """The keys `messages`, and if there are tools `tools` and `tool_choice`, of a chat completion request.

    Raises:
        TypeError: A content block that the API cannot carry (video, media by reference), named with its message.
    """
    request: dict[str, Any] = {"messages": chat_messages(messages, system_prompt)}
    if tool_specs:
        request["tools"] = chat_tools(tool_specs)
        if tool_choice:
            request["tool_choice"] = chat_tool_choice(tool_choice)
    return request


def chat_tools(tool_specs: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Tool specs as function definitions."""
    return [
        {
            "type": "function",
            "function": {
                "name": spec["name"],
                "description": spec["description"],
                "parameters": spec["inputSchema"]["json"],
            },
        }
        for spec in tool_specs
    ]


def chat_tool_choice(tool_choice: ToolChoice) -> str | dict[str, Any]:
    """`{"any": {}}` becomes `required`, `{"tool": {"name"}}` names the function, everything else becomes `auto`."""
    if "any" in tool_choice:
        return "required"
    if "tool" in tool_choice:
        return {"type": "function", "function": {"name": tool_choice["tool"]["name"]}}
    return "auto"


def chat_messages(messages: Messages, system_prompt: str | None = None) -> list[dict[str, Any]]:
    """The whole conversation; a message without any block that can be sent (reasoning alone) is left out.

    Raises:
        TypeError: See `chat_request`.
    """
    sent: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for number, message in enumerate(messages):
        try:
            sent.extend(_chat_message(message))
        except TypeError as error:
            raise TypeError(f"messages[{number}]: {error}") from None
    return sent


def _chat_message(message: Message) -> list[dict[str, Any]]:
    blocks = message.get("content", [])
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    calls = [_tool_call(block["toolUse"]) for block in blocks if "toolUse" in block]
    parts = [_part(block) for block in blocks if not any(key in block for key in _NOT_SENT)]
    sent: list[dict[str, Any]] = []
    media: list[dict[str, Any]] = []
    for result in results:
        tool_message, moved = _tool_message(result)
        sent.append(tool_message)
        media.extend(moved)
    if media:  # after all results: the API requires them before any other message
        sent.append({"role": "user", "content": media})
    if parts or calls:
        own: dict[str, Any] = {"role": message.get("role", "user")}
        if parts:
            own["content"] = _content(parts)
        if calls:
            own["tool_calls"] = calls
        sent.append(own)
    return sent


def _tool_call(tool_use: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(tool_use["input"], ensure_ascii=False)
    return {
        "id": tool_use["toolUseId"],
        "type": "function",
        "function": {"name": tool_use["name"], "arguments": arguments},
    }


def _tool_message(result: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of one tool call, and its images and documents, because a tool message may hold text only."""
    parts = [_part(block) for block in result["content"]]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    media = [part for part in parts if part["type"] != "text"]
    if media:
        texts.append(f"The tool returned {len(media)} file(s), given in the next user message.")
    return {"role": "tool", "tool_call_id": result["toolUseId"], "content": "\n".join(texts)}, media


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone goes as one string, which every compatible server accepts; fewer accept a list of parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(block: ContentBlock) -> dict[str, Any]:
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if "json" in block:
        return {"type": "text", "text": json.dumps(block["json"], ensure_ascii=False)}
    if "citationsContent" in block:
        said = block["citationsContent"].get("content", [])
        return {"type": "text", "text": "".join(piece.get("text", "") for piece in said)}
    if "image" in block:
        return {"type": "image_url", "image_url": {"url": _data_url(block["image"], "image")}}
    if "document" in block:
        document = block["document"]
        file = {"filename": document.get("name", "document"), "file_data": _data_url(document, "document")}
        return {"type": "file", "file": file}
    raise TypeError(f"a block of {'/'.join(block) or 'nothing'} cannot be sent to this model; it takes {_SUPPORTED}.")


def _data_url(media: dict[str, Any], kind: str) -> str:
    data = media.get("source", {}).get("bytes")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"the {kind}'s source holds no bytes; this model takes media by value only, not by location.")
    mime = mimetypes.types_map.get(f".{media.get('format', '')}", "application/octet-stream")
    return f"data:{mime};base64,{base64.b64encode(cast('bytes', data)).decode()}"
