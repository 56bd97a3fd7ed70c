"""Finds everything that a strict provider refuses in a chat completion request. Pure.

The rules are those of the strictest of OpenAI, Mistral, Anthropic's and Gemini's gateways and vLLM's chat templates: each
of them refuses some of this, and none refuses what passes here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, cast

__all__ = ["flaws"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_FOLLOWING: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant", "assistant with calls"}),
    "assistant": frozenset({"user"}),
    "assistant with calls": frozenset({"tool"}),
    "tool": frozenset({"tool", "assistant", "assistant with calls"}),
}
"""The kinds of message that may follow each kind; the first follows ""."""


def flaws(request: Mapping[str, Any]) -> list[str]:
    """Everything in a request that a strict provider refuses; empty if it accepts the request."""
    messages: Any = request.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in cast("list[Any]", messages)):
        return ["messages is not a list of objects"]
    given = cast("list[dict[str, Any]]", messages)
    found = [f"message {place}: {what}" for place, one in enumerate(given) for what in _message(one)]
    found += [*_characters(request), *_order(given), *_results(given)]
    for tool in request.get("tools") or ():
        if not _NAME.match(str(tool.get("function", {}).get("name"))):
            found.append(f"a tool has the name {tool.get('function', {}).get('name')!r}")
    return found


def _characters(request: Mapping[str, Any]) -> Iterator[str]:
    try:
        json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        yield f"the request is not valid JSON in UTF-8: {error}"


def _kind(message: Mapping[str, Any]) -> str:
    return "assistant with calls" if message.get("tool_calls") else str(message.get("role"))


def _order(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    kinds = ["", *map(_kind, messages)]
    for place, (before, kind) in enumerate(pairwise(kinds)):
        if kind not in _FOLLOWING.get(before, ()):
            yield f"message {place}: {kind!r} follows {before!r}"
    if kinds[-1] not in ("user", "tool"):
        yield f"the last message is of kind {kinds[-1]!r}"


def _results(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Check that each call has exactly one result, right after it, and each result its call."""
    wanted: list[str] = []
    for place, message in enumerate(messages):
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in wanted:
                yield f"message {place}: the result of {message.get('tool_call_id')!r}, which is not an open call"
            else:
                wanted.remove(str(message["tool_call_id"]))
            continue
        if wanted:
            yield f"message {place}: it comes before the results of {wanted}"
        wanted = [str(call.get("id")) for call in message.get("tool_calls") or ()]
        if len(set(wanted)) < len(wanted):
            yield f"message {place}: two calls have the same id, of {wanted}"
    if wanted:
        yield f"the last calls have no results: {wanted}"


def _message(message: Mapping[str, Any]) -> Iterator[str]:
    content: Any = message.get("content")
    for call in message.get("tool_calls") or ():
        yield from _call(call)
    if content is None:
        if not message.get("tool_calls"):
            yield "it has neither content nor calls"
    elif isinstance(content, str):
        if not content.strip() and message.get("role") != "tool":
            yield f"its content is blank: {content!r}"
    elif not isinstance(content, list) or not content or message.get("role") in ("tool", "system"):
        yield f"its content is {content!r}"
    else:
        yield from (f"a part of its content is {part!r}" for part in cast("list[Any]", content) if not _is_part(part))


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    fields = cast("dict[str, Any]", part)
    kind = fields.get("type")
    return isinstance(kind, str) and bool(fields.get(kind)) and (kind != "text" or bool(str(fields[kind]).strip()))


def _call(call: Mapping[str, Any]) -> Iterator[str]:
    function = call.get("function", {})
    if not call.get("id") or not isinstance(call["id"], str) or call.get("type") != "function":
        yield f"a call has the id {call.get('id')!r} and the type {call.get('type')!r}"
    if not _NAME.match(str(function.get("name"))):
        yield f"a call has the name {function.get('name')!r}"
    try:
        arguments = json.loads(function.get("arguments"))
    except (TypeError, ValueError) as error:
        yield f"the arguments of a call are not JSON ({error}): {function.get('arguments')!r}"
    else:
        if not isinstance(arguments, dict):
            yield f"the arguments of a call are not an object: {arguments!r}"
