"""Converts Converse-shaped messages, tools and tool choice to a request of Bedrock's ConverseStream. Pure.

The messages have the API's own form already, but it refuses a block with one field too many, blank text, and much that
other providers accept. A request can be built from any stored history; a block that the API cannot carry becomes a
sentence that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from playhead.runtime.core.converse import ContentBlock, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.history_repair import BLANK, in_order
from playhead.runtime.core.json_lines import json_ready
from playhead.runtime.core.plain import plain
from playhead.runtime.models.content import (
    blocks,
    bytes_of,
    fields_of,
    inner,
    json_text,
    medium,
    not_sent,
    said,
    sentence,
    text_of,
)

__all__ = ["converse_request", "is_claude"]

_UNUSED_TOOL: Final[ToolSpec] = {
    "name": "noop",
    "description": "This is a fake tool that MUST be completely ignored.",
    "inputSchema": {"json": {"properties": {}, "type": "object"}},
}
"""The API refuses a history with tool calls where no tool is offered. Strands offers this one."""

_NOT_OF_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_.:-]")
_LONGEST_ID: Final = 64
_NOT_OF_A_NAME: Final = re.compile(r"[^a-zA-Z0-9\s\-()\[\]]")
_SPACES: Final = re.compile(r"\s+")


def is_claude(model_id: str) -> bool:
    """Whether a model is one of Anthropic's, as far as its id says."""
    return "anthropic" in model_id.lower() or "claude" in model_id.lower()


def converse_request(
    model_id: str,
    messages: Messages,
    tool_specs: Sequence[ToolSpec] | None = None,
    system: str | Sequence[ContentBlock] | None = None,
    *,
    tool_choice: ToolChoice | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of a `converse_stream`. Never raises.

    Args:
        model_id: The model, which decides what of a result and of reasoning it accepts.
        messages: The history.
        tool_specs: The offered tools.
        system: The system prompt, as text or as blocks, which may hold cache points.
        tool_choice: `{"any": {}}`, `{"tool": {"name"}}` or `{"auto": {}}`.
        params: Additional keys of the request, such as `inferenceConfig`.
    """
    sent = [made for message in in_order(messages) if (made := _message(fields_of(message), model_id))]
    if not tool_specs and any(
        not {"toolUse", "toolResult"}.isdisjoint(block) for one in sent for block in one["content"]
    ):
        tool_specs = [_UNUSED_TOOL]
    given = [{"text": system}] if isinstance(system, str) and system else [] if isinstance(system, str) else system
    request: dict[str, Any] = {"modelId": model_id, "messages": plain(sent)}
    request["system"] = [made for block in given or () if (made := _system(block))]
    if tool_specs:
        tools = [{"toolSpec": _tool(spec)} for spec in tool_specs]
        request["toolConfig"] = {"tools": tools, "toolChoice": tool_choice or {"auto": {}}}
    request["inferenceConfig"] = {}
    return {**request, **(params or {})}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"name": spec["name"], "description": spec["description"], "inputSchema": spec["inputSchema"]}


def _system(block: Mapping[str, Any]) -> dict[str, Any] | None:
    if "cachePoint" in block:
        return _cache_point(block)
    return {"text": text_of(block["text"])} if block.get("text") else None


def _message(message: Mapping[str, Any], model_id: str) -> dict[str, Any] | None:
    """A message; None if it holds nothing that can be sent."""
    role = "assistant" if message.get("role") == "assistant" else "user"
    given = blocks(message.get("content"))
    content = [made for block in given if (made := _block(block, model_id=model_id, held=role == "user"))]
    return {"content": content, "role": role} if content and any("cachePoint" not in one for one in content) else None


def _block(block: dict[str, Any], *, model_id: str, held: bool) -> dict[str, Any] | None:
    """The block as the API has it; None for reasoning that the model refuses."""
    if (text := said(block)) is not None:
        return {"text": text if text.strip() else BLANK["text"]}
    if "cachePoint" in block:
        return _cache_point(block)
    if "toolUse" in block:
        return {"toolUse": _tool_use(fields_of(block["toolUse"]))}
    if "toolResult" in block:
        return {"toolResult": _tool_result(fields_of(block["toolResult"]), model_id)}
    if "reasoningContent" in block:
        return _reasoning(fields_of(block["reasoningContent"])) if is_claude(model_id) or "." not in model_id else None
    if "guardContent" in block:
        return _guarded(fields_of(block["guardContent"]), model_id=model_id, held=held)
    for kind in ("image", "document", "video", "audio"):
        if kind in block:
            return _medium(fields_of(block[kind]), kind, held=held)
    return {"text": not_sent(block)}


def _cache_point(block: Mapping[str, Any]) -> dict[str, Any]:
    ttl = inner(block["cachePoint"], "ttl")
    return {"cachePoint": {"type": "default", "ttl": str(ttl)} if ttl else {"type": "default"}}


def _tool_use(call: dict[str, Any]) -> dict[str, Any]:
    given = json_ready(plain(call.get("input")))
    arguments: Any = given if isinstance(given, Mapping) else {} if given is None else {"input": given}
    return {"input": arguments, "name": str(call.get("name")), "toolUseId": _id(call.get("toolUseId"))}


def _id(given: Any) -> str:
    """A call's id in the characters that the API accepts; those of other providers may hold others."""
    return _NOT_OF_AN_ID.sub("_", str(given))[:_LONGEST_ID] or "_"


def _tool_result(result: dict[str, Any], model_id: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for block in blocks(result.get("content")):
        if "json" in block and "amazon.nova" not in model_id:  # Nova invents where it is given JSON
            content.append({"json": json_ready(plain(block["json"]))})
        elif "json" in block:
            content.append({"text": json_text(block["json"])})
        elif "text" in block:
            content.append({"text": text_of(block["text"])})
        elif "cachePoint" not in block and (made := _block(block, model_id=model_id, held=True)) is not None:
            content.append(made)
    made = {"content": content or [{"text": ""}], "toolUseId": _id(result.get("toolUseId"))}
    if is_claude(model_id) and result.get("status") in ("success", "error"):  # other models refuse it
        made["status"] = result["status"]
    return made


def _reasoning(reasoning: dict[str, Any]) -> dict[str, Any] | None:
    text = fields_of(reasoning.get("reasoningText"))
    if signature := text.get("signature"):
        signed = {"text": text_of(text.get("text")), "signature": str(signature)}
        return {"reasoningContent": {"reasoningText": signed}}
    if redacted := bytes_of(reasoning.get("redactedContent")):
        return {"reasoningContent": {"redactedContent": redacted}}
    return None


def _guarded(guarded: dict[str, Any], *, model_id: str, held: bool) -> dict[str, Any] | None:
    text = inner(guarded.get("text"), "text")
    if not isinstance(text, str) or not text.strip():
        return _block({"image": guarded.get("image")}, model_id=model_id, held=held)
    qualifiers = inner(guarded.get("text"), "qualifiers")
    kept = {"text": text, "qualifiers": qualifiers} if isinstance(qualifiers, list) else {"text": text}
    return {"guardContent": {"text": kept}}


def _medium(given: dict[str, Any], kind: str, *, held: bool) -> dict[str, Any]:
    form, source = str(given.get("format") or ""), fields_of(given.get("source"))
    if held and form and (found := _source(source)):
        made: dict[str, Any] = {"format": form, "source": found}
        if kind != "document":
            return {kind: made}
        name = _SPACES.sub(" ", _NOT_OF_A_NAME.sub("-", str(given.get("name") or ""))).strip() or "document"
        if inner(given.get("citations"), "enabled"):
            made["citations"] = {"enabled": True}
        return {kind: {"name": name, **made}}
    told = medium(given, kind if kind == "document" else "image", held=held)
    if kind in ("video", "audio") or not isinstance(told, str):
        told = sentence(f"A block of {kind}")
    return {"text": told}


def _source(source: dict[str, Any]) -> dict[str, Any] | None:
    location = fields_of(source.get("location") or source.get("s3Location"))
    if location.get("uri") and location.get("type", "s3") == "s3":
        owner = {"bucketOwner": str(location["bucketOwner"])} if location.get("bucketOwner") else {}
        return {"s3Location": {"uri": str(location["uri"]), **owner}}
    data = bytes_of(source.get("bytes"))
    return {"bytes": data} if data else None
