"""Reads the input of a tool call from the text that a model sent, and keeps input that cannot be read. Pure.

Strands stores `{}` as the input of a call whose text is not JSON, and runs the tool with it. Here the stored input is
`{}` too, because providers accept only an object, but the text is kept in the message's `metadata`, and the call is not
run: a tool never runs on input that the model did not send.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Message, ToolResult, ToolUse
from playhead.runtime.core.tool_results import error_result

__all__ = ["KEPT_CHARS", "UNREAD", "read_tool_input", "unread_input", "unread_result", "without_unread"]

UNREAD: Final = "unreadInputs"
"""Key of a message's `metadata`: position of a call among the message's calls, as text → the start of its input."""

KEPT_CHARS: Final = 2000
"""How many characters are kept of an input that cannot be read."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# Not strict: a line break inside a text is not valid JSON, but has only one meaning, and models often write it.
_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_refuse)


def read_tool_input(text: str) -> Any:
    """Read the input from JSON; an empty string is `{}`.

    Servers are known to send an empty object before or after the arguments, to send the arguments twice, and to wrap
    the arguments in a JSON string. Each of these has one meaning.

    Raises:
        ValueError: If the text is not JSON, is cut off, or holds different values.
    """
    values = [value for value in _values(text) if value not in ({}, None, "")]
    if not values:
        return {}
    if any(value != values[0] for value in values[1:]):
        raise ValueError("it holds several different values")
    return _unquoted(values[0]) if isinstance(values[0], str) else values[0]


def _values(text: str) -> list[Any]:
    found: list[Any] = []
    rest = text.strip()
    try:
        while rest:
            value, end = _DECODER.raw_decode(rest)
            found.append(value)
            rest = rest[end:].lstrip()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def _unquoted(text: str) -> Any:
    try:
        inner = _values(text)
    except ValueError:
        return text
    return inner[0] if len(inner) == 1 and isinstance(inner[0], dict) else text


def unread_input(message: Message, index: int) -> str | None:
    """The start of the input of the call at `index`, if that input could not be read; else None."""
    kept: object = (message.get("metadata") or {}).get(UNREAD)
    if not isinstance(kept, Mapping):
        return None
    text = cast("Mapping[str, object]", kept).get(str(index))
    return None if text is None else str(text)


def unread_result(tool_use: ToolUse, text: str) -> ToolResult:
    """The result of a call whose input could not be read. It repeats what was sent, so that the model can correct it."""
    return error_result(
        tool_use["toolUseId"],
        f"Error: Validation failed for input parameters: '{tool_use['name']}' was not run, because its input cannot be "
        f"read as one JSON object: {text}",
    )


def without_unread(message: Message) -> Message:
    """The message as readers get it, without the unread inputs, for which Strands has no key."""
    metadata = message.get("metadata") or {}
    if UNREAD not in metadata:
        return message
    return {**message, "metadata": {key: value for key, value in metadata.items() if key != UNREAD}}
