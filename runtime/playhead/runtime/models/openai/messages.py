"""Converts Converse-shaped messages, tools and tool choice to a request of OpenAI's Chat Completions API. Pure.

A request can be built from any stored history. A block that the API cannot carry becomes a sentence that says so,
because an error here would fail every later run of that session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from playhead.runtime.core.converse import Message, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.history_repair import NO_REPLY_TEXT, in_order
from playhead.runtime.core.json_lines import json_ready
from playhead.runtime.core.plain import plain
from playhead.runtime.models.content import blocks as content_blocks
from playhead.runtime.models.content import fields_of, json_text
from playhead.runtime.models.openai.deltas import REASONING_FIELDS
from playhead.runtime.models.openai.media import part

__all__ = ["SendBack", "chat_messages", "chat_request", "chat_tool_choice", "chat_tools"]

SendBack = Literal["calls", "all", "nothing"]
"""Which of its own fields a provider gets back: those of its tool calls, those of every message, or none."""

_ROLES: Final = ("assistant", "system", "developer")


def chat_request(
    messages: Messages,
    tool_specs: list[ToolSpec] | None = None,
    system_prompt: str | None = None,
    *,
    tool_choice: ToolChoice | None = None,
    provider: str = "",
    send_back: SendBack = "calls",
) -> dict[str, Any]:
    """The keys `messages` and, if there are tools, `tools` and `tool_choice` of a chat completion request.

    `provider` is what the fields and the reasoning that it sent are kept for; see `OpenAIModel` for `send_back`.
    """
    sent = chat_messages(in_order(messages), system_prompt, provider=provider, send_back=send_back)
    request: dict[str, Any] = {"messages": sent}
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


def chat_messages(
    messages: Messages, system_prompt: str | None = None, *, provider: str = "", send_back: SendBack = "calls"
) -> list[dict[str, Any]]:
    """The whole conversation. A message without any block that can be sent (only reasoning) is omitted. Never raises."""
    sent: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in messages:
        sent.extend(_chat_message(message, provider=provider if send_back != "nothing" else "", send_back=send_back))
    return cast("list[dict[str, Any]]", json_ready(sent))


def _chat_message(message: Message, *, provider: str, send_back: SendBack) -> list[dict[str, Any]]:
    role = message.get("role")
    blocks = content_blocks(message.get("content"))
    results = [fields_of(block["toolResult"]) for block in blocks if "toolResult" in block]
    calls = [_tool_call(fields_of(block["toolUse"]), provider) for block in blocks if "toolUse" in block]
    others = [block for block in blocks if "toolUse" not in block and "toolResult" not in block]
    parts = [made for block in others if (made := part(block, media=role != "assistant"))]
    own: dict[str, Any] = {"role": role if role in _ROLES else "user"}
    if provider and (calls or send_back == "all"):
        reasoning = _reasoning(blocks, provider)
        parts = [*reasoning.pop("content", []), *parts]
        own |= reasoning
    sent = _result_messages(results)
    if sent and sent[-1]["role"] == own["role"]:  # the files of the results: two user messages in a row are refused
        parts = [*sent.pop()["content"], *parts]
    if parts or calls:
        if parts:
            own["content"] = _content(parts)
        if calls:
            own["tool_calls"] = calls
        sent.append(own)
    return sent


def _tool_call(tool_use: dict[str, Any], provider: str) -> dict[str, Any]:
    given = tool_use.get("input")
    arguments = given if isinstance(given, Mapping) else {} if given is None else {"input": given}
    function = {"name": str(tool_use.get("name")), "arguments": json_text(arguments)}
    call = {"id": str(tool_use.get("toolUseId")), "type": "function", "function": function}
    kept = fields_of(tool_use.get("providerFields"))
    if not provider or kept.get("provider") != provider:
        return call
    call["function"] = {**fields_of(plain(kept.get("function"))), **function}
    return {**fields_of(plain(kept.get("fields"))), **call}


def _reasoning(blocks: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    """The reasoning that the provider itself sent, under its own names."""
    sent: dict[str, Any] = {}
    for block in blocks:
        reasoning = fields_of(block.get("reasoningContent"))
        kept = fields_of(reasoning.get("providerFields"))
        if kept.get("provider") != provider:
            continue
        text, field = str(fields_of(reasoning.get("reasoningText")).get("text") or ""), kept.get("field")
        if field == "content" and text:
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            sent["content"] = [*sent.get("content", []), thought]
        elif field in REASONING_FIELDS and text:
            sent[field] = sent.get(field, "") + text
        details = plain(kept.get("details"))
        if isinstance(details, list):
            sent["reasoning_details"] = [*sent.get("reasoning_details", []), *cast("list[Any]", details)]
    return sent


def _result_messages(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of tool calls, and after them their images and documents, because a tool message may hold only text.

    Strict servers refuse a user's message right after results, so the assistant says something between them.
    """
    sent: list[dict[str, Any]] = []
    media: list[dict[str, Any]] = []
    for result in results:
        parts = [made for block in content_blocks(result.get("content")) if (made := part(block))]
        texts = [each["text"] for each in parts if each["type"] == "text"]
        moved = [each for each in parts if each["type"] != "text"]
        if result.get("status") == "error" and not any("error" in text.lower() for text in texts):
            texts.insert(0, "Error:")  # the API has no status
        if moved:
            texts.append(f"The tool returned {len(moved)} file(s), given in the next user message.")
        sent.append({"role": "tool", "tool_call_id": str(result.get("toolUseId")), "content": "\n".join(texts)})
        media.extend(moved)
    if media:  # after all results: the API requires them before any other message
        sent += [{"role": "assistant", "content": NO_REPLY_TEXT}, {"role": "user", "content": media}]
    return sent


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone goes as one string, which every compatible server accepts; fewer accept a list of parts."""
    if all(each["type"] == "text" for each in parts):
        return "\n".join(each["text"] for each in parts)
    return parts
