"""What LangChain and LangGraph give, in the forms of the log."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping, Set
from typing import Any, Final, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.plain import NotPlainError, plain, plain_strict

__all__ = [
    "KeptObjects",
    "asked_of",
    "content_of",
    "end_of",
    "generation_of",
    "input_of",
    "item_of",
    "loaded_result",
    "message_of",
    "shown",
    "stored_result",
]


class KeptObjects(JsonPlusSerializer):
    """The form in which a checkpointer of one execution keeps a state: objects that have no form, such as locks, as they are."""

    def __init__(self) -> None:
        super().__init__(allowed_msgpack_modules=True)
        self._kept: list[Any] = []

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Its form, or the number of the object."""
        try:
            return super().dumps_typed(obj)
        except TypeError:
            self._kept.append(obj)
            return _KEPT, str(len(self._kept) - 1).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value again."""
        kind, told = data
        return self._kept[int(told)] if kind == _KEPT else super().loads_typed(data)


_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_SERDE: Final = JsonPlusSerializer(allowed_msgpack_modules=None)
"""Makes no object of a class that LangGraph does not name as safe: reading a log must not run code that it names."""

_KEPT: Final = "kept"
_MESSAGE, _OTHER = "langchain_message", "langgraph_value"


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


def stored(value: Any) -> Any:
    """What a tool gives, as plain data: a message as LangChain writes it, and other objects as a checkpointer does.

    Raises:
        EncodingError: If it has an object of a class that is not read again, such as one of the tool's own.
    """
    if isinstance(value, list):
        return [stored(item) for item in cast("list[Any]", value)]
    try:
        if isinstance(value, BaseMessage):
            value.id = value.id or str(uuid.uuid4())
            return {_MESSAGE: plain_strict(messages_to_dict([value])[0])}
        return plain_strict(value)
    except NotPlainError:
        kept = _SERDE.dumps_typed(value)
        if _SERDE.loads_typed(kept) != value:
            raise EncodingError(
                f"a {type(value).__name__} cannot be kept in the log: return text, plain data, messages, or LangGraph's Command "
                "or Send of these"
            ) from None
        return {_OTHER: list(kept)}


def stored_result(value: Any, *, name: str, use_id: str) -> Any:
    """What a tool gives, as plain data: that of the usual message is its text."""
    if isinstance(value, ToolMessage) and isinstance(value.content, str):
        usual = ToolMessage(value.content, name=name, tool_call_id=use_id, id=value.id)
        return value.content if value == usual else stored(value)
    return stored(value)


def loaded_result(value: Any, *, name: str, use_id: str) -> Any:
    """What the tool gave. One that is called by an id gives a message."""
    if use_id and isinstance(value, str):
        return ToolMessage(value, name=name, tool_call_id=use_id)
    return loaded(value)


def input_of(given: Any) -> dict[str, Any]:
    """What a tool is called with, without what the framework adds, such as the state of the graph."""
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {"input": given}
    return {name: value for name, value in fields.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    try:
        plain_strict(value)
    except NotPlainError:
        return False
    return True


def loaded(value: Any) -> Any:
    """The value that was stored."""
    match value:
        case {"langchain_message": message}:
            return messages_from_dict([message])[0]
        case {"langgraph_value": [kind, data]}:
            return _SERDE.loads_typed((kind, data))
        case [*items]:
            return [loaded(item) for item in items]
        case _:
            return value


def item_of(generation: ChatGeneration, *, call: str) -> dict[str, Any]:
    """What a model sent, as plain data: its message, without what is empty or follows from the rest."""
    message = generation.message
    message.id = message.id or call  # LangChain's would be another one each time
    follows = {"tool_calls", "invalid_tool_calls"} if isinstance(message, AIMessageChunk) else set[str]()
    fields = message.model_dump(exclude=follows)
    told = {name: plain(field) for name, field in fields.items() if field or name == "content"}
    return told | ({"generation_info": plain(generation.generation_info)} if generation.generation_info else {})


def generation_of(item: Mapping[str, Any], *, whole: bool) -> ChatGeneration:
    """The message of an item."""
    fields = dict(item)
    info = fields.pop("generation_info", None)
    if whole:
        return ChatGeneration(message=AIMessage(**fields), generation_info=info)
    return ChatGenerationChunk(message=AIMessageChunk(**fields), generation_info=info)


def end_of(item: Mapping[str, Any], usage: Mapping[str, int]) -> dict[str, int]:
    """The tokens of an answer with those of one more item."""
    taken: Mapping[str, int] = item.get("usage_metadata") or {}
    names = {"inputTokens": "input_tokens", "outputTokens": "output_tokens", "totalTokens": "total_tokens"}
    return {name: usage.get(name, 0) + taken.get(theirs, 0) for name, theirs in names.items()}


def asked_of(messages: list[BaseMessage]) -> list[Any]:
    """What a model is asked, to compare it with what it was asked before: without ids, which are made up each time."""
    return [(one.type, plain(one.content), plain(getattr(one, "tool_calls", None))) for one in messages]


def content_of(message: Message) -> Any:
    """The content of a prompt in LangChain's form.

    Raises:
        ValueError: For a block that is neither a text nor a file with its bytes.
    """
    blocks = message.get("content", [])
    if len(blocks) == 1 and "text" in blocks[0]:
        return blocks[0]["text"]
    return [_block(block) for block in blocks]


def _block(block: ContentBlock) -> dict[str, Any]:
    match block:
        case {"text": str(text)}:
            return {"type": "text", "text": text}
        case {"image": {"format": str(form), "source": {"bytes": bytes(data)}}}:
            return {"type": "image", "base64": _base64(data), "mime_type": f"image/{form}"}
        case {"document": {"format": str(form), "source": {"bytes": bytes(data)}}}:
            return {"type": "file", "base64": _base64(data), "mime_type": f"application/{form}"}
        case _:
            kind = next(iter(block), "an empty block")
            raise ValueError(f"a prompt for LangGraph has text, images and documents, and this one has {kind!r:.80}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def message_of(message: Message) -> dict[str, Any]:
    """A message that another agent added to the session, as LangChain writes it."""
    kind = "human" if message.get("role") == "user" else "ai"
    text = "\n".join(block["text"] for block in message.get("content", []) if "text" in block)
    return {"type": kind, "data": {"content": text, "id": str(message.get("tracking_id") or uuid.uuid4())}}
