"""Converts Converse-shaped messages, tools and tool choice to a request of OpenAI's Responses API. Pure.

A request can be built from any stored history; a block that the API cannot carry becomes a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from playhead.runtime.core.converse import Messages, ToolChoice, ToolSpec
from playhead.runtime.core.history_repair import in_order
from playhead.runtime.core.json_lines import json_ready
from playhead.runtime.core.plain import plain
from playhead.runtime.models.content import (
    Medium,
    blocks,
    fields_of,
    guarded,
    inner,
    json_text,
    medium,
    not_sent,
    said,
)
from playhead.runtime.models.openai.messages import SendBack

__all__ = ["REASONING_ITEM", "responses_request"]

REASONING_ITEM: Final = "item"
"""The field of a reasoning block's `providerFields` that holds the whole item, as the API sent it."""


def responses_request(
    messages: Messages,
    tool_specs: Sequence[ToolSpec] | None = None,
    system_prompt: str | None = None,
    *,
    tool_choice: ToolChoice | None = None,
    provider: str = "",
    send_back: SendBack = "calls",
) -> dict[str, Any]:
    """The keys `input` and, if they are given, `instructions`, `tools` and `tool_choice`. Never raises.

    `provider` is what reasoning items are kept for; see `OpenAIModel` for `send_back`.
    """
    items: list[dict[str, Any]] = []
    for message in in_order(messages):
        given = blocks(message.get("content"))
        if message.get("role") == "assistant":
            kept = send_back == "all" or (send_back == "calls" and any("toolUse" in block for block in given))
            items += _said_items(given, provider if kept else "")
        else:
            items += _user_items(given)
    request: dict[str, Any] = {"input": json_ready(items)}
    if system_prompt:
        request["instructions"] = system_prompt
    if tool_specs:
        request["tools"] = [_tool(spec) for spec in tool_specs]
        if tool_choice:
            request["tool_choice"] = _tool_choice(tool_choice)
    return request


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function = {"name": spec["name"], "description": spec["description"]}
    return {"type": "function", **function, "parameters": spec["inputSchema"]["json"]}


def _tool_choice(tool_choice: ToolChoice) -> str | dict[str, Any]:
    if "any" in tool_choice:
        return "required"
    name = inner(tool_choice.get("tool"), "name")
    return {"type": "function", "name": name} if name else "auto"


def _said_items(given: list[dict[str, Any]], provider: str) -> list[dict[str, Any]]:
    """The items of a message of the assistant, in their order; text alone is accepted as its content."""
    items: list[dict[str, Any]] = []
    texts: list[str] = []
    for block in [*given, None]:
        item = _item(block, provider) if block is not None else None
        if block is not None and item is None:
            if "reasoningContent" not in block and "cachePoint" not in block:
                texts.append(_text(_part(block, held=False)))
            continue
        if text := "\n".join(texts):
            items.append({"role": "assistant", "content": text})
        texts = []
        items += [item] if item else []
    return items


def _item(block: dict[str, Any], provider: str) -> dict[str, Any] | None:
    """A call, or reasoning that goes back to the server that sent it; None for any other block."""
    if "toolUse" in block:
        call = fields_of(block["toolUse"])
        given = call.get("input")
        arguments = given if isinstance(given, Mapping) else {} if given is None else {"input": given}
        named = {"call_id": str(call.get("toolUseId")), "name": str(call.get("name"))}
        return {"type": "function_call", **named, "arguments": json_text(arguments)}
    kept = fields_of(fields_of(block.get("reasoningContent")).get("providerFields"))
    if not provider or kept.get("provider") != provider:
        return None
    item = fields_of(plain(kept.get(REASONING_ITEM)))
    # Without either the server would look for the item in its store, where it is not.
    return item if item.get("encrypted_content") or item.get("content") else None


def _user_items(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    results = [_result(fields_of(block["toolResult"])) for block in given if "toolResult" in block]
    others = [block for block in given if "toolResult" not in block and "cachePoint" not in block]
    parts = [_part(block, held=True) for block in others if "reasoningContent" not in block]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _result(result: dict[str, Any]) -> dict[str, Any]:
    given = [block for block in blocks(result.get("content")) if "cachePoint" not in block]
    parts = [_part(block, held=True) for block in given]
    if result.get("status") == "error" and not any("error" in _text(part).lower() for part in parts):
        parts.insert(0, {"type": "input_text", "text": "Error:"})  # the API has no status
    whole = "\n".join(map(_text, parts)) if all(part["type"] == "input_text" for part in parts) else parts
    return {"type": "function_call_output", "call_id": str(result.get("toolUseId")), "output": whole}


def _text(part: Mapping[str, Any]) -> str:
    return str(part.get("text", ""))


def _part(block: dict[str, Any], *, held: bool) -> dict[str, Any]:
    """A block as a part of a message or of a result; `held` is whether that may hold images and documents."""
    if (text := said(block)) is not None:
        return {"type": "input_text", "text": text}
    if "guardContent" in block:
        return _part(guarded(block["guardContent"]), held=held)
    for kind in ("image", "document"):
        if kind in block:
            found = medium(block[kind], kind, held=held)
            if isinstance(found, str):
                return {"type": "input_text", "text": found}
            return _medium(found, str(inner(block[kind], "format")), kind)
    return {"type": "input_text", "text": not_sent(block)}


def _medium(found: Medium, form: str, kind: str) -> dict[str, Any]:
    if kind == "image":
        return {"type": "input_image", "image_url": found.url}
    name = found.name or "document"
    filename = name if name.endswith(f".{form}") else f"{name}.{form}"
    return {"type": "input_file", "filename": filename, "file_data": found.url}
