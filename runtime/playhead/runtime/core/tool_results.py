"""Converts the value that a tool's body returned or raised to the `ToolResult` that the model gets.

Error messages are Strands', word for word, because models and callers rely on them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from playhead.runtime.core.blocks import IN_RESULTS, readable
from playhead.runtime.core.converse import ContentBlock, ToolResult, ToolUse
from playhead.runtime.core.plain import NotPlainError, plain_strict, plain_text

__all__ = [
    "TOOL_NAME_MAX_LENGTH",
    "error_result",
    "exception_result",
    "invalid_name",
    "tool_result",
    "unknown_tool_result",
]

TOOL_NAME_MAX_LENGTH = 64
"""The longest name, in characters; Converse and the OpenAI API refuse longer ones."""


def tool_result(tool_use_id: str, value: object, *, tool_name: str) -> ToolResult:
    """Turn the value that a body returned into a result.

    A dict with a `status` of "success" or "error" and `content` is already a result and is copied, and so is MCP's
    `CallToolResult`, as an object or a dict. Text is used as it is, a pydantic model becomes its JSON, anything else
    becomes JSON or, if it has no JSON form, its `str()`.

    The blocks of an explicit result are converted to Converse's, those of MCP too; a block that cannot be sent to any
    model becomes a text block that says so. A result that cannot be stored raises nothing: it becomes an error result
    that names the tool, the path and the type. A broken `__str__` or serializer of the value may raise anything.
    """
    given = _of_mcp(value)
    if given is None and isinstance(value, dict):
        given = cast(dict[str, Any], value)
    if given is not None and "content" in given and given.get("status") in ("success", "error"):
        return _explicit(tool_use_id, given, tool_name)
    return _result(tool_use_id, "success", _text(value))


def _of_mcp(value: object) -> dict[str, Any] | None:
    """MCP's `CallToolResult` as an explicit result; None for any other value."""
    if isinstance(value, BaseModel) and hasattr(value, "isError"):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if not isinstance(value, dict):
        return None
    given = cast("dict[str, Any]", value)
    if not isinstance(given.get("isError"), bool) or not isinstance(given.get("content"), list):
        return None
    return {"status": "error" if given["isError"] else "success", "content": given["content"]}


def error_result(tool_use_id: str, text: str) -> ToolResult:
    """An error result with `text` as its only content block."""
    return _result(tool_use_id, "error", text)


def exception_result(tool_use_id: str, error: BaseException) -> ToolResult:
    """Turn a raised exception into a result: `Error: <message>` for a ValueError, `Error: <Type> - <message>` for all others."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be shown)"
    prefix = "" if isinstance(error, ValueError) else f"{type(error).__name__} - "
    return error_result(tool_use_id, f"Error: {prefix}{text}")


def unknown_tool_result(tool_use: ToolUse) -> ToolResult:
    """The result of a call to a tool that does not exist or has an invalid name."""
    flaw = invalid_name(tool_use.get("name"))
    text = f"Error: {flaw}" if flaw else f"Unknown tool: {tool_use['name']}"
    return error_result(tool_use.get("toolUseId", "unknown"), text)


def invalid_name(name: object) -> str | None:
    """What is wrong with a tool name, in Strands' words; None for a name of 1 to 64 letters, digits, `_` and `-`."""
    if name is None:
        return "tool name missing"
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        return f"tool_name=<{name}> | invalid tool name pattern"
    if len(name) > TOOL_NAME_MAX_LENGTH:
        return f"tool_name=<{name}>, tool_name_max_length=<{TOOL_NAME_MAX_LENGTH}> | invalid tool name length"
    return None


def _explicit(tool_use_id: str, given: dict[str, Any], tool_name: str) -> ToolResult:
    advice = f"Return blocks such as {{'text': …}} or {{'json': …}} of plain data from the tool '{tool_name}'."
    if not isinstance(given["content"], list | tuple):
        kind = type(given["content"]).__name__
        return error_result(
            tool_use_id, f"Error: tool '{tool_name}' returned content of type {kind}, not list. {advice}"
        )
    try:
        content = [_dumped(block) for block in cast("list[object]", given["content"])]
        copy = cast(dict[str, Any], plain_strict({**given, "content": content}))
    except NotPlainError as error:
        where = f"result{error.path}"
        return error_result(
            tool_use_id,
            f"Error: tool '{tool_name}' returned a result that cannot be stored: {where} is {error.what}. {advice}",
        )
    odd = next((block for block in cast(list[object], copy["content"]) if not isinstance(block, dict)), None)
    if odd is not None:
        kind = type(odd).__name__
        return error_result(tool_use_id, f"Error: tool '{tool_name}' returned a content block of type {kind}. {advice}")
    blocks = [made for block in cast("list[object]", copy["content"]) for made in readable(block, kinds=IN_RESULTS)]
    ordered = {"toolUseId": tool_use_id, "status": copy["status"], "content": blocks}
    return cast(ToolResult, ordered | {key: item for key, item in copy.items() if key not in ordered})


def _dumped(block: object) -> object:
    """A block as a dict; MCP's blocks are pydantic models."""
    return block.model_dump(by_alias=True, exclude_none=True) if isinstance(block, BaseModel) else block


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, BaseModel):
            return value.model_dump_json()
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, PydanticSerializationError):
        return str(value)


def _result(tool_use_id: str, status: Literal["success", "error"], text: str) -> ToolResult:
    content: list[ContentBlock] = [{"text": plain_text(text)}]
    return {"toolUseId": tool_use_id, "status": status, "content": content}
