"""What the OpenAI Agents SDK gives and takes, in the forms of the log."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, cast, get_args

from agents import Agent
from agents.items import ModelResponse
from agents.tool import ToolOutputFileContent, ToolOutputImage, ToolOutputText
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.plain import NotPlainError, plain_strict
from playhead.runtime.core.prompts import prompt_messages

__all__ = [
    "chunk_of",
    "event_of",
    "input_of",
    "message_item",
    "of_chunk",
    "plain",
    "output_of",
    "prompt_items",
    "response_of",
    "usage_of",
]

_RESPONSE: Final = TypeAdapter(ModelResponse)
_CHUNKS: Final[Mapping[str, type[BaseModel]]] = {
    name: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
    for name in get_args(kind.model_fields["type"].annotation)
}
"""The classes of the events of a model by their types: a union of them takes 70 times as long to validate."""

_OUTPUTS: Final = (ToolOutputText, ToolOutputImage, ToolOutputFileContent)


def chunk_of(event: Any) -> Any:
    """An event of a model's stream as plain data."""
    return event.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def of_chunk(chunk: Mapping[str, Any]) -> Any:
    """The event again."""
    return _CHUNKS[chunk["type"]].model_validate(chunk)


def response_of(given: Any) -> Any:
    """A whole answer of a model as plain data, and again as what it was."""
    if isinstance(given, ModelResponse):
        return _RESPONSE.dump_python(given, mode="json", by_alias=True, warnings=False)
    return _RESPONSE.validate_python(given)


def event_of(event: Any) -> dict[str, Any]:
    """An event of a run: its fields and those of its item, agents by their names."""
    return {field.name: plain(getattr(event, field.name)) for field in fields(event)}


def plain(value: Any) -> Any:
    """A value of the SDK, or of the agent, as plain data."""
    if isinstance(value, Agent):
        return {"name": value.name}
    if hasattr(value, "raw_item"):
        told = {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name[0] != "_"}
        return {name: item for name, item in told.items() if item is not None}
    return to_jsonable_python(value, exclude_none=True, fallback=lambda other: type(other).__name__)


def input_of(arguments: str) -> Any:
    """The arguments of a tool call, which are JSON if the model made no mistake."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {"arguments": arguments}


def output_of(output: Any) -> Any:
    """What a tool gave as plain data that the SDK tells a model in the same words."""
    if isinstance(output, _OUTPUTS):
        return output.model_dump()
    if isinstance(output, list | tuple) and any(isinstance(one, _OUTPUTS) for one in cast("list[Any]", output)):
        return [output_of(one) for one in cast("list[Any]", output)]
    try:
        said = plain_strict(output)
    except NotPlainError:
        return str(output)
    return said if said == output else str(output)  # a tuple would become a list, which reads otherwise


def usage_of(usage: Any) -> dict[str, int]:
    """The tokens of a run."""
    return {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens, "totalTokens": usage.total_tokens}


def prompt_items(prompt: Any) -> list[Any]:
    """A prompt as input items.

    Raises:
        ValueError: For a block that is neither a text, an image with its bytes, nor one of the SDK's own.
    """
    return [message_item(message, strict=True) for message in prompt_messages(prompt) or []]


def message_item(message: Message, *, strict: bool = False) -> dict[str, Any]:
    """A message as an input item; unless `strict`, without blocks that have no such form."""
    role, blocks = message.get("role", "user"), message.get("content", [])
    if all("text" in block for block in blocks) or not strict:
        return {"role": role, "content": "\n".join(block["text"] for block in blocks if "text" in block)}
    return {"role": role, "content": [_part(block) for block in blocks]}


def _part(block: ContentBlock) -> dict[str, Any]:
    match block:
        case {"text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": str()}:
            return block
        case {"image": {"format": str(form), "source": {"bytes": bytes(data)}}}:
            return {"type": "input_image", "image_url": f"data:image/{form};base64,{base64.b64encode(data).decode()}"}
        case _:
            kind = next(iter(block), "an empty block")
            raise ValueError(f"a prompt for the OpenAI Agents SDK has texts and images, and this one has {kind!r:.80}")
