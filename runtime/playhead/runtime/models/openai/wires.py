"""The two APIs that `OpenAIModel` speaks: what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from playhead.runtime.models.openai.chunks import ChunkTranslator
from playhead.runtime.models.openai.messages import chat_request
from playhead.runtime.models.openai.response import Translator
from playhead.runtime.models.openai.responses.events import ItemTranslator
from playhead.runtime.models.openai.responses.request import responses_request

__all__ = ["WIRES", "Api", "Wire"]

Api = Literal["chat", "responses"]
"""Chat Completions, which many servers have, or Responses, which gives reasoning back to OpenAI's models."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One API.

    Attributes:
        request: Makes the keys of a request that hold the conversation.
        translator: Makes what converts a response's events.
        resource: The SDK's name of the API.
        defaults: Keys of each request that `params` may change, or leave out with None.
    """

    request: Callable[..., dict[str, Any]]
    translator: Callable[..., Translator]
    resource: str
    defaults: Mapping[str, Any]


WIRES: Final[Mapping[Api, Wire]] = {
    "chat": Wire(chat_request, ChunkTranslator, "chat.completions", {"stream_options": {"include_usage": True}}),
    # The conversation is in the log, so the server need not store it.
    "responses": Wire(responses_request, ItemTranslator, "responses", {"store": False}),
}
