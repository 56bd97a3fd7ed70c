"""What pydantic-ai gives and takes, in the forms of the log."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag, TypeAdapter
from pydantic_ai import BinaryContent, ModelMessagesTypeAdapter, ModelResponse, ToolApproved, ToolDenied, ToolReturn
from pydantic_ai.messages import AgentStreamEvent, ModelResponseStreamEvent, ToolReturnContent

from playhead.runtime.core.converse import Message
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.guests.prompts import parts_of, text_of
from playhead.runtime.guests.verdicts import verdict_of
from playhead.runtime.host.forms import Form, usage_of

__all__ = ["EVENT", "ITEM", "MESSAGES", "RESULT", "allowed", "dump", "message_of", "prompt_of"]


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", "")
    return "return" if kind == "tool-return" else "content"


_CHUNK: Final = TypeAdapter[Any](ModelResponseStreamEvent)
EVENT: Final = TypeAdapter[Any](AgentStreamEvent)
MESSAGES: Final[TypeAdapter[list[Any]]] = ModelMessagesTypeAdapter
_RESPONSE: Final = TypeAdapter(ModelResponse)
_RESULT: Final = TypeAdapter[Any](
    Annotated[Annotated[ToolReturn, Tag("return")] | Annotated[ToolReturnContent, Tag("content")], Discriminator(_kind)]
)
RESULT: Final = Form(lambda given: _RESULT.dump_python(given, mode="json"), _RESULT.validate_python)
"""What a tool gives, with files and images as objects again; other objects become plain data."""


def dump(adapter: TypeAdapter[Any], value: Any) -> Any:
    """A value as plain data, which the adapter reads again."""
    return adapter.dump_python(value, mode="json", exclude_none=True)


def _dumped(item: Any) -> Any:
    if not isinstance(item, ModelResponse):
        return dump(_CHUNK, item)
    return {"metadata": {"usage": usage_of(item.usage), "response": dump(_RESPONSE, item)}}


def _loaded(said: Any) -> Any:
    return _RESPONSE.validate_python(said["metadata"]["response"]) if "metadata" in said else said


ITEM: Final = Form(_dumped, _loaded)
"""The items of an answer: its events, of which only readers take notice, and at last all of it, with its tokens."""


def allowed(response: Any) -> bool | ToolApproved | ToolDenied:
    """What a human's response to the question whether a tool may run means, as `verdict_of`; `{"input": …}` lets it run with
    other arguments.
    """
    if isinstance(response, dict) and isinstance(response.get("input"), dict):
        return ToolApproved(override_args=response["input"])
    verdict = verdict_of(response)
    return verdict.allowed if verdict.told is None else ToolDenied(verdict.told)


def prompt_of(prompt: Any) -> list[Any] | str | None:
    """A prompt in pydantic-ai's form.

    Raises:
        ValueError: For a block that is neither a text nor a file with its bytes.
    """
    if prompt is None or isinstance(prompt, str):
        return prompt
    blocks = [block for message in prompt_messages(prompt) or [] for block in message.get("content", [])]
    file = lambda kind, data: BinaryContent(data, media_type=kind)  # noqa: E731
    return parts_of(blocks, of="pydantic-ai", has="texts, images and documents", text=str, file=file)


def message_of(message: Message) -> Any:
    """The texts of a message that another agent added to the session, in the form in which `MESSAGES` reads them."""
    kind, part = ("request", "user-prompt") if message.get("role") == "user" else ("response", "text")
    return {"kind": kind, "parts": [{"part_kind": part, "content": text_of(message)}]}
