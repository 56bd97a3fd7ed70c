"""What the OpenAI Agents SDK gives and takes, in the forms of the log."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Final, cast, get_args

from agents import Agent
from agents.items import ModelResponse, RunItemBase
from agents.stream_events import AgentUpdatedStreamEvent, RunItemStreamEvent
from agents.tool import ToolOutputFileContent, ToolOutputImage, ToolOutputText
from openai.types.responses import ResponseOutputItem, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from playhead.runtime.core.converse import Message
from playhead.runtime.core.plain import NotPlainError, plain_strict
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.guests.prompts import parts_of, text_of
from playhead.runtime.host.forms import Form

__all__ = ["CHUNK", "OUTPUT", "RESPONSE", "hints_of", "input_of", "message_item", "plain", "prompt_items"]


def _by_types(union: Any) -> Mapping[str, type[BaseModel]]:
    """The classes of a union by what their objects have as `type`."""
    kinds = get_args(get_args(union)[0])
    return {name: kind for kind in kinds for name in get_args(kind.model_fields["type"].annotation)}


_RESPONSE: Final = TypeAdapter(ModelResponse)
_ITEMS: Final = _by_types(ResponseOutputItem)
_EVENTS: Final = _by_types(ResponseStreamEvent)
"""The classes of the events of a model by their types: a union of them takes 70 times as long to validate."""
_AS_SENT: Final[Any] = {"mode": "json", "by_alias": True, "exclude_unset": True, "warnings": False}
"""Without what a provider left out: else a model would be told more of an answer of the log than it said."""

_OUTPUTS: Final = (ToolOutputText, ToolOutputImage, ToolOutputFileContent)


def _made(kinds: Mapping[str, type[BaseModel]], given: Mapping[str, Any]) -> Any:
    """An object of OpenAI's SDK. As there, it may be of a type that this version of the SDK does not know, and a server may
    leave fields out.
    """
    kind = kinds.get(given.get("type", ""), next(iter(kinds.values())))
    try:
        return kind.model_validate(given)
    except ValidationError:
        return kind.model_construct(**given)  # eight times as long


def _response(given: Mapping[str, Any]) -> Any:
    response = _RESPONSE.validate_python({**given, "output": []})
    response.output = [_made(_ITEMS, item) for item in given["output"]]
    return response


CHUNK: Final = Form(
    dump=lambda event: event.model_dump(**_AS_SENT),
    load=partial(_made, _EVENTS),
    usage=lambda event: getattr(getattr(event, "response", None), "usage", None),
)
"""The events of a model's stream."""

RESPONSE: Final = Form(
    dump=lambda response: _RESPONSE.dump_python(response, **_AS_SENT),
    load=_response,
    usage=lambda response: response.usage,
)
"""A whole answer of a model."""


def plain(value: Any) -> Any:
    """A value of the SDK, or of the agent, as plain data: events and their items by their fields, agents by their names."""
    if isinstance(value, Agent):
        return {"name": value.name}
    if isinstance(value, RunItemBase | RunItemStreamEvent | AgentUpdatedStreamEvent):
        told = {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name[0] != "_"}
        return {name: item for name, item in told.items() if item is not None}
    return to_jsonable_python(value, exclude_none=True, fallback=lambda other: type(other).__name__)


def hints_of(tool: Any) -> Any:
    """The MCP annotations of a tool, as a dict with MCP's names; None if it has none."""
    hints = getattr(tool, "mcp_annotations", None)
    return None if hints is None else hints.model_dump(by_alias=True)


def input_of(arguments: str) -> Any:
    """The arguments of a tool call, which are JSON if the model made no mistake."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {"arguments": arguments}


def _output(output: Any) -> Any:
    """What a tool gave as plain data that the SDK tells a model in the same words."""
    if isinstance(output, _OUTPUTS):
        return output.model_dump()
    if isinstance(output, list | tuple) and any(isinstance(one, _OUTPUTS) for one in cast("list[Any]", output)):
        return [_output(one) for one in cast("list[Any]", output)]
    try:
        said = plain_strict(output)
    except NotPlainError:
        return str(output)
    return said if said == output else str(output)  # a tuple would become a list, which reads otherwise


OUTPUT: Final = Form(dump=_output, load=lambda said: said)


def prompt_items(prompt: Any) -> list[Any]:
    """A prompt as input items.

    Raises:
        ValueError: For a block that is neither a text nor an image with its bytes.
    """
    return [_prompt_item(message) for message in prompt_messages(prompt) or []]


def _prompt_item(message: Message) -> dict[str, Any]:
    blocks = message.get("content", [])
    if all("text" in block for block in blocks):
        return message_item(message)
    parts = parts_of(
        blocks,
        of="the OpenAI Agents SDK",
        has="texts and images",
        text=lambda text: {"type": "input_text", "text": text},
        file=lambda kind, data: {
            "type": "input_image",
            "image_url": f"data:{kind};base64,{base64.b64encode(data).decode()}",
        },
    )
    return {"role": message.get("role", "user"), "content": parts}


def message_item(message: Message) -> dict[str, Any]:
    """The texts of a message as an input item."""
    return {"role": message.get("role", "user"), "content": text_of(message)}
