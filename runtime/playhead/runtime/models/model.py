"""What a model provider is to the loop."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any, Protocol, runtime_checkable

from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec

__all__ = ["Model"]


@runtime_checkable
class Model(Protocol):
    """A model provider: anything with Strands' `stream` shape, so `strands.models` objects fit as they are.

    `stream` yields chunks in Converse order and ends. It raises `ModelThrottledException`,
    `ContextWindowOverflowException` or the vendor's own exception; a closed or cancelled stream releases its
    connection. `messages` carry neither `metadata` nor `tracking_id`.

    A model that can go on from a partial answer, an assistant message at the end of `messages`, says so by an attribute
    `continues_partial` that is true. It then yields only what comes behind that text.
    """

    def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncIterable[Chunk]: ...
