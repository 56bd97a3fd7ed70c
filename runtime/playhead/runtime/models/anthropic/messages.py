"""Converts Converse-shaped messages, tools and tool choice to a request of Anthropic's Messages API. Pure.

A request can be built from any stored history. A block that the API cannot carry becomes a sentence that says so,
because an error here would fail every later run of that session.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from playhead.runtime.core.converse import ContentBlock, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.history_repair import BLANK, in_order
from playhead.runtime.core.json_lines import json_ready
from playhead.runtime.models.content import (
    Medium,
    blocks,
    fields_of,
    guarded,
    inner,
    medium,
    not_sent,
    said,
    sentence,
    text_of,
)

__all__ = ["CacheTtl", "messages_request"]

CacheTtl = Literal["5m", "1h"]
"""How long the provider keeps a cached prefix."""

_CACHEABLE: Final = frozenset({"document", "image", "text", "tool_result", "tool_use"})
"""The blocks that may carry `cache_control`; on any other the API refuses it."""

_MOST_CACHE_POINTS: Final = 4
"""The API refuses a request with more."""

_NOT_OF_AN_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_PLAIN_TEXT: Final = frozenset({"text/csv", "text/html", "text/markdown", "text/plain"})


def messages_request(
    messages: Messages,
    tool_specs: Sequence[ToolSpec] | None = None,
    system: str | Sequence[ContentBlock] | None = None,
    *,
    tool_choice: ToolChoice | None = None,
    cache: CacheTtl | None = None,
) -> dict[str, Any]:
    """The keys `messages`, `tools` and, if they are given, `system` and `tool_choice` of a request. Never raises.

    Args:
        messages: The history.
        tool_specs: The offered tools.
        system: The system prompt, as text or as blocks, which may hold cache points.
        tool_choice: `{"any": {}}`, `{"tool": {"name"}}` or `{"auto": {}}`.
        cache: If given, the tools, the system prompt and the history end in a cache point of that life.
    """
    sent = [made for message in in_order(messages) if (made := _message(fields_of(message)))]
    tools = [_tool(spec) for spec in tool_specs or ()]
    prompt = _system(system)
    if cache:
        if tools:
            tools[-1]["cache_control"] = _cache_control(cache)
        prompt = [{"type": "text", "text": prompt}] if isinstance(prompt, str) and prompt else prompt
        if prompt and not any("cache_control" in block for block in cast("list[dict[str, Any]]", prompt)):
            _mark(prompt, cache)
        last = next((message["content"] for message in reversed(sent) if message["role"] == "user"), [])
        if not any("cache_control" in block for block in last):
            _mark(last, cache)
    _thin_out(sent, kept=_MOST_CACHE_POINTS - _points(tools) - _points(prompt if isinstance(prompt, list) else ()))
    request: dict[str, Any] = {"messages": json_ready(sent), "tools": tools}
    if prompt:
        request["system"] = json_ready(prompt)
    if chosen := _tool_choice(tool_choice):
        request["tool_choice"] = chosen
    return request


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec["name"], "description": spec["description"], "input_schema": spec["inputSchema"]["json"]}


def _tool_choice(tool_choice: ToolChoice | None) -> dict[str, Any] | None:
    for kind in ("any", "auto"):
        if tool_choice and kind in tool_choice:
            return {"type": kind}
    name = inner(inner(tool_choice, "tool"), "name")
    return {"type": "tool", "name": name} if name else None


def _system(system: str | Sequence[ContentBlock] | None) -> str | list[dict[str, Any]]:
    if system is None or isinstance(system, str):
        return system or ""
    made: list[dict[str, Any]] = []
    for block in system:
        if "cachePoint" in block:
            _mark(made, inner(block["cachePoint"], "ttl"))
        elif block.get("text"):
            made.append({"type": "text", "text": text_of(block["text"])})
    return made


def _message(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message; None if it holds nothing that can be sent."""
    role = "assistant" if message.get("role") == "assistant" else "user"
    content = _content(blocks(message.get("content")), held=role == "user")
    return {"content": content, "role": role} if content else None


def _content(given: list[dict[str, Any]], *, held: bool) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for block in given:
        if "cachePoint" in block:
            _mark(made, inner(block["cachePoint"], "ttl"))
        elif (one := _block(block, held=held)) is not None:
            made.append(one)
    return made


def _block(block: dict[str, Any], *, held: bool) -> dict[str, Any] | None:
    """The block as the API has it; None for reasoning without a signature, which it refuses."""
    if (text := said(block)) is not None:
        return _text(text)
    if "toolUse" in block:
        return _tool_use(fields_of(block["toolUse"]))
    if "toolResult" in block:
        return _tool_result(fields_of(block["toolResult"]))
    if "reasoningContent" in block:
        return _reasoning(fields_of(block["reasoningContent"]))
    if "guardContent" in block:
        return _block(guarded(block["guardContent"]), held=held)
    for kind in ("image", "document"):
        if kind in block:
            found = medium(block[kind], kind, held=held)
            return _text(found) if isinstance(found, str) else _medium(found, kind, block[kind])
    return _text(not_sent(block))


def _text(text: str) -> dict[str, Any]:
    """A block of text; the API refuses one that is blank."""
    return {"text": text if text.strip() else BLANK["text"], "type": "text"}


def _tool_use(call: dict[str, Any]) -> dict[str, Any]:
    given = call.get("input")
    arguments: Any = given if isinstance(given, Mapping) else {} if given is None else {"input": given}
    return {"id": _id(call.get("toolUseId")), "input": arguments, "name": str(call.get("name")), "type": "tool_use"}


def _id(given: Any) -> str:
    """A call's id in the characters that the API accepts; those of other providers may hold others."""
    return _NOT_OF_AN_ID.sub("_", str(given)) or "_"


def _tool_result(result: dict[str, Any]) -> dict[str, Any]:
    given = [block for block in blocks(result.get("content")) if not ("text" in block and not text_of(block["text"]))]
    return {
        "content": _content(given, held=True),
        "is_error": result.get("status") == "error",
        "tool_use_id": _id(result.get("toolUseId")),
        "type": "tool_result",
    }


def _reasoning(reasoning: dict[str, Any]) -> dict[str, Any] | None:
    text = fields_of(reasoning.get("reasoningText"))
    if signature := text.get("signature"):
        return {"signature": str(signature), "thinking": text_of(text.get("text")), "type": "thinking"}
    redacted = reasoning.get("redactedContent")
    if isinstance(redacted, bytes) and redacted:
        return {"data": base64.b64encode(redacted).decode(), "type": "redacted_thinking"}
    return None


def _medium(found: Medium, kind: str, given: Any) -> dict[str, Any]:
    if kind == "image":
        return {"source": _base64(found), "type": "image"}
    if found.media_type == "application/pdf":
        source = _base64(found)
    elif found.media_type in _PLAIN_TEXT:
        text = found.data.decode("utf-8", "replace")
        source = {"data": text, "media_type": "text/plain", "type": "text"}
    else:
        what = f"The document {found.name!r} ({inner(given, 'format')})"
        return _text(sentence(what, "in a format that this model cannot take"))
    made: dict[str, Any] = {"source": source, "title": found.name, "type": "document"}
    if inner(inner(given, "citations"), "enabled"):
        made["citations"] = {"enabled": True}
    return made


def _base64(found: Medium) -> dict[str, Any]:
    return {"data": found.base64, "media_type": found.media_type, "type": "base64"}


def _mark(content: Iterable[Any], ttl: Any) -> None:
    """Put a cache point on the last block that may carry one."""
    for block in reversed(cast("list[dict[str, Any]]", content)):
        if block["type"] in _CACHEABLE:
            block["cache_control"] = _cache_control(ttl)
            return


def _cache_control(ttl: Any) -> dict[str, Any]:
    return {"type": "ephemeral", "ttl": str(ttl)} if ttl else {"type": "ephemeral"}


def _points(content: Iterable[dict[str, Any]]) -> int:
    return sum("cache_control" in block for block in content)


def _thin_out(sent: list[dict[str, Any]], *, kept: int) -> None:
    """Keep the last cache points of a history: a session may hold one for each turn, and the API refuses many."""
    for block in [block for message in reversed(sent) for block in reversed(message["content"])]:
        if "cache_control" in block:
            kept -= 1
            if kept < 0:
                del block["cache_control"]
