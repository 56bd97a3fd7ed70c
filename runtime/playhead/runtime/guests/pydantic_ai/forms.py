"""What pydantic-ai gives and takes, in the forms of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag, TypeAdapter
from pydantic_ai import ToolReturn
from pydantic_ai.messages import (
    AgentStreamEvent,
    BinaryContent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponseStreamEvent,
    ToolReturnContent,
)
from pydantic_ai.tools import ToolApproved, ToolDenied

from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.guests.verdicts import verdict_of

__all__ = [
    "CHUNK",
    "EVENT",
    "MESSAGES",
    "RESPONSE",
    "RESULT",
    "dump",
    "message_of",
    "prompt_of",
    "usage_of",
    "allowed",
]


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", "")
    return "return" if kind == "tool-return" else "content"


CHUNK: Final = TypeAdapter[Any](ModelResponseStreamEvent)
EVENT: Final = TypeAdapter[Any](AgentStreamEvent)
MESSAGES: Final[TypeAdapter[list[ModelMessage]]] = ModelMessagesTypeAdapter
RESPONSE: Final = TypeAdapter(ModelResponse)
RESULT: Final = TypeAdapter[Any](
    Annotated[Annotated[ToolReturn, Tag("return")] | Annotated[ToolReturnContent, Tag("content")], Discriminator(_kind)]
)
"""What a tool gives, with files and images as objects again; other objects become plain data."""


def dump(adapter: TypeAdapter[Any], value: Any) -> Any:
    """A value as plain data, which the adapter reads again."""
    return adapter.dump_python(value, mode="json", exclude_none=True)


def usage_of(usage: Any) -> dict[str, int]:
    """The tokens of a call or a run."""
    taken, given = usage.input_tokens, usage.output_tokens
    return {"inputTokens": taken, "outputTokens": given, "totalTokens": taken + given}


def allowed(response: Any) -> bool | ToolApproved | ToolDenied:
    """What a human's response to the question whether a tool may run means, as `verdict_of`; `{"input": …}` lets it run with
    other arguments.
    """
    match response:
        case {"input": dict(given)}:
            return ToolApproved(override_args=given)
        case _:
            verdict = verdict_of(response)
            return ToolDenied(verdict.told) if verdict.told is not None else verdict.allowed


def prompt_of(prompt: Any) -> list[Any] | str | None:
    """A prompt in pydantic-ai's form.

    Raises:
        ValueError: For a block that is neither a text nor a file with its bytes.
    """
    if prompt is None or isinstance(prompt, str):
        return prompt
    return [_content(block) for message in prompt_messages(prompt) or [] for block in message.get("content", [])]


def _content(block: ContentBlock) -> Any:
    match block:
        case {"text": str(text)}:
            return text
        case {"image": {"format": str(form), "source": {"bytes": bytes(data)}}}:
            return BinaryContent(data, media_type=f"image/{form}")
        case {"document": {"format": str(form), "source": {"bytes": bytes(data)}}}:
            return BinaryContent(data, media_type="text/plain" if form == "txt" else f"application/{form}")
        case _:
            kind = next(iter(block), "an empty block")
            raise ValueError(f"a prompt for pydantic-ai has text, images and documents, and this one has {kind!r:.80}")


def message_of(message: Message) -> Any:
    """The texts of a message that another agent added to the session, in the form in which `MESSAGES` reads them."""
    text = "\n".join(block["text"] for block in message.get("content", []) if "text" in block)
    if message.get("role") == "user":
        return {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": text}]}
    return {"kind": "response", "parts": [{"part_kind": "text", "content": text}]}
