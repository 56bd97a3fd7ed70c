"""What LangChain and LangGraph give and take, in the forms of the log."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping, Set
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any, Final, cast

from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    message_chunk_to_message,
    message_to_dict,
    messages_from_dict,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.plain import NotPlainError, plain, plain_strict
from playhead.runtime.guests.prompts import parts_of, text_of
from playhead.runtime.host.forms import Form

__all__ = [
    "CHUNK",
    "Kept",
    "asked_of",
    "calls_of",
    "content_of",
    "input_of",
    "message_of",
    "result_form",
    "shown",
    "whole",
]

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_FOLLOWS: Final = frozenset({"tool_calls", "invalid_tool_calls"})  # from the tool_call_chunks
_SERDE: Final = JsonPlusSerializer(allowed_msgpack_modules=None)
"""Makes no object of a class that LangGraph does not name as safe: reading a log must not run code that it names."""


class Kept:
    """How a checkpointer of one execution keeps a state: as a copy, or as it is, if it has what cannot be copied, such as a lock."""

    def dumps_typed(self, obj: Any) -> Any:
        """The value."""
        try:
            return "kept", deepcopy(obj)
        except Exception:  # of any class of the user's
            return "kept", obj

    def loads_typed(self, data: Any) -> Any:
        """The value again."""
        return self.dumps_typed(data[1])[1]


def _fields(message: BaseMessage) -> dict[str, Any]:
    follows = _FOLLOWS if isinstance(message, AIMessageChunk) else ()
    told = {
        name: value for name, value in vars(message).items() if (value or name == "content") and name not in follows
    }
    return {name: value if type(value) is str else plain(value) for name, value in told.items()}


CHUNK: Final = Form(
    dump=_fields,
    load=lambda said: messages_from_dict([{"type": said["type"], "data": said}])[0],
    usage=lambda message: getattr(message, "usage_metadata", None),
)
"""What a model sends: the fields of its messages that are not empty."""


def whole(chunks: list[Any]) -> BaseMessage:
    """The message whose chunks these are."""
    first, *rest = chunks
    return message_chunk_to_message(first + rest if rest else first)


def asked_of(model: Any, given: Any) -> dict[str, list[Any]]:
    """What a model is asked, to compare it with what it was asked before: without ids, which may be made up each time."""
    messages: list[BaseMessage] = model._convert_input(given).to_messages()
    system = [plain(one.content) for one in messages if one.type == "system"]
    said = [(one.type, plain(one.content), calls_of(one)) for one in messages if one.type != "system"]
    return {"system": system, "messages": said}


def calls_of(message: BaseMessage) -> Any:
    """The tools that a message calls, without the ids of the calls."""
    calls: list[Any] = getattr(message, "tool_calls", None) or []
    return [(call["name"], plain(call["args"])) for call in calls]


def shown(value: Any) -> Any:
    """What a node gives, as plain data for readers, the same each time: without addresses of objects and orders of sets."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(name): shown(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in cast("list[Any]", value)]
    if isinstance(value, Set):
        return sorted((shown(item) for item in cast("Set[Any]", value)), key=str)
    told = plain(value)
    return _ADDRESS.sub("", told) if isinstance(told, str) and not isinstance(value, str) else told


def input_of(given: Any) -> dict[str, Any]:
    """What a tool is called with, without what the framework adds, such as the state of the graph."""
    told: dict[str, Any] = {}
    for name, value in (cast("dict[str, Any]", given) if isinstance(given, dict) else {"input": given}).items():
        with suppress(NotPlainError):
            told[name] = plain_strict(value)
    return told


def stored(value: Any) -> Any:
    """What a tool gives, as plain data: a message as LangChain writes it, and other objects as a checkpointer does.

    Raises:
        EncodingError: If it has an object of a class that is not read again, such as one of the tool's own.
    """
    try:
        is_message = isinstance(value, BaseMessage)
        return {"langchain_message": plain_strict(message_to_dict(value))} if is_message else plain_strict(value)
    except NotPlainError:
        kept = _SERDE.dumps_typed(value)
        if _SERDE.loads_typed(kept) == value:
            return {"is": _told(value), "langgraph_value": list(kept)}
    raise EncodingError(
        f"a {type(value).__name__} cannot be kept in the log: return text, plain data, messages, or LangGraph's Command or "
        "Send of these"
    )


def _told(value: object) -> str:
    """What it is, for people: of a `Command` or a `Send` where it goes."""
    goes = getattr(value, "goto", None) or getattr(value, "node", None)
    return f"{type(value).__name__} to {goes}" if isinstance(goes, str) else type(value).__name__


def loaded(value: Any) -> Any:
    """The value that was stored."""
    match value:
        case {"langchain_message": message}:
            return messages_from_dict([message])[0]
        case {"langgraph_value": [kind, data]}:
            return _SERDE.loads_typed((kind, data))
        case _:
            return value


def result_form(name: str, use_id: str) -> Form:
    """The form of what that call of a tool gives: the usual message is stored as its text."""
    usual = partial(ToolMessage, name=name, tool_call_id=use_id)

    def dump(value: Any) -> Any:
        is_usual = isinstance(value, ToolMessage) and isinstance(value.content, str) and value == usual(value.content)
        return value.content if is_usual else stored(value)

    return Form(dump, lambda said: usual(said) if use_id and isinstance(said, str) else loaded(said), text=_text)


def _text(said: Any) -> str | None:
    """The text of a stored message whose content is text, such as that of a tool of an MCP server."""
    match said:
        case {"langchain_message": {"data": {"content": content}}}:
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            told = [block if isinstance(block, str) else block.get("text") for block in blocks]
            texts = [one for one in told if isinstance(one, str)]
            return "\n".join(texts) if len(texts) == len(told) else None
        case _:
            return None


def content_of(message: Message) -> Any:
    """The content of a prompt in LangChain's form.

    Raises:
        ValueError: For a block that is neither a text nor a file with its bytes.
    """
    parts = parts_of(
        message.get("content", []),
        of="LangGraph",
        has="texts, images and documents",
        text=lambda text: {"type": "text", "text": text},
        file=lambda kind, data: {
            "type": "image" if kind.startswith("image/") else "file",
            "base64": base64.b64encode(data).decode(),
            "mime_type": kind,
        },
    )
    return parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts


def message_of(message: Message) -> dict[str, Any]:
    """The texts of a message that another agent added to the session, as LangChain writes them."""
    kind = "human" if message.get("role") == "user" else "ai"
    return {"type": kind, "data": {"content": text_of(message), "id": str(message.get("tracking_id") or uuid.uuid4())}}
