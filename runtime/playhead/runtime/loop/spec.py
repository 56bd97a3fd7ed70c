"""The values that the loop takes of an agent, and those that it yields."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, Protocol

from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.context import KEEP_ALL, ContextPolicy
from playhead.runtime.core.converse import ContentBlock, Message, ToolChoice, ToolSpec, ToolUse
from playhead.runtime.core.model_input import ModelRequest, model_request
from playhead.runtime.core.retry_strategy import ModelRetryStrategy, Waits
from playhead.runtime.core.segments import Encoded, Stored
from playhead.runtime.core.terms import NO_TERMS, Terms
from playhead.runtime.loop.hooks import Hooks
from playhead.runtime.models.model import Model
from playhead.runtime.telemetry.operations import Attribute, Attributes
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.tool import OnUnknownOutcome, ToolItem

__all__ = ["FLUSH", "AgentSpec", "CallableTool", "Flush", "LoopOutput", "MakeRequest", "OnPartial"]


OnPartial = Literal["retract", "continue"]
"""What to do with the text of a model call that broke off: withdraw it and make the call again, or, if possible, let
the model continue after it."""


class Flush(Enum):
    """The type of `FLUSH`."""

    FLUSH = "flush"


FLUSH: Final = Flush.FLUSH
"""Yielded between records: store everything before this, then continue."""


class CallableTool(Protocol):
    """The part of a tool that the loop needs: a `Tool`, or the object that a replay uses in its place."""

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def on_unknown_outcome(self) -> OnUnknownOutcome: ...

    def stream(self, tool_use: ToolUse, context: ToolContext) -> AsyncGenerator[ToolItem, None]: ...


class MakeRequest(Protocol):
    """How the request of a model call is made of the history: `model_request`, or what a replay uses in its place."""

    def __call__(
        self,
        history: Sequence[Message],
        *,
        tool_specs: Sequence[ToolSpec],
        system_prompt: str | None,
        system_prompt_content: Sequence[ContentBlock] | None = None,
        partial: str | None = None,
        tool_choice: ToolChoice | None = None,
    ) -> ModelRequest: ...


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The part of an agent that the loop needs."""

    name: str
    model: Model
    tools: Mapping[str, CallableTool] = field(default_factory=dict[str, CallableTool])
    system_prompt: str | None = None
    system_prompt_content: Sequence[ContentBlock] | None = None
    tool_executor: Literal["concurrent", "sequential"] = "concurrent"
    max_record_bytes: int = MAX_RECORD_BYTES
    on_partial: OnPartial = "retract"
    context: ContextPolicy = KEEP_ALL
    retry: Waits | None = field(default_factory=ModelRetryStrategy)
    terms: Terms = NO_TERMS
    hooks: Hooks | None = None
    request: MakeRequest = model_request
    trace_attributes: Attributes = field(default_factory=dict[str, Attribute])


LoopOutput = Stored | Encoded | Flush
"""An item that the loop yields: a record, with or without its bytes, the array of a `model.chunk`, or `FLUSH`."""
