"""What a model call sends: the request, with the history in the form that model providers accept. Pure.

The loop makes each request with `model_request`, and `requests.request_of` later makes the same one from a run's
records. The rules for messages are Strands' (`_normalize_messages`, 1.62): providers refuse blank text, and tool calls
under names that a provider could not have produced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from playhead.runtime.core.converse import ContentBlock, Message, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.history_repair import BLANK, in_order, is_blank, lacks_results
from playhead.runtime.core.system_prompt import beside_text
from playhead.runtime.core.tool_results import invalid_name

__all__ = ["ModelRequest", "for_model", "model_request", "summary_request"]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The arguments of one model call.

    Attributes:
        messages: The history as it was sent.
        tool_specs: The offered tools, in order; None if there are none.
        system_prompt: The system prompt, or None.
        tool_choice: The tool choice, or None.
        system_prompt_content: The system prompt as blocks, if it has more than the text, such as cache points; else None.
    """

    messages: Messages
    tool_specs: list[ToolSpec] | None = None
    system_prompt: str | None = None
    tool_choice: ToolChoice | None = None
    system_prompt_content: list[ContentBlock] | None = None

    @property
    def tool_names(self) -> list[str]:
        """The names of the offered tools, in order."""
        return [spec["name"] for spec in self.tool_specs or ()]


def model_request(
    history: Sequence[Message],
    *,
    tool_specs: Sequence[ToolSpec],
    system_prompt: str | None,
    system_prompt_content: Sequence[ContentBlock] | None = None,
    partial: str | None = None,
    tool_choice: ToolChoice | None = None,
) -> ModelRequest:
    """The request of a model call after `history`; `partial` is the text for the model to continue, if any."""
    messages = for_model(history)
    if partial is not None:
        messages.append({"role": "assistant", "content": [{"text": partial}]})
    content = beside_text(system_prompt, system_prompt_content)
    return ModelRequest(messages, list(tool_specs) or None, system_prompt, tool_choice, content)


def summary_request(messages: Sequence[Message], *, system_prompt: str | None) -> ModelRequest:
    """The request of a model call that is to summarize `messages`, as Strands makes it."""
    asked: Message = {"role": "user", "content": [{"text": "Please summarize this conversation."}]}
    return ModelRequest(for_model([*messages, asked]), None, system_prompt)


def for_model(messages: Sequence[Message]) -> Messages:
    """The history for a provider: without bookkeeping, and without blank assistant text, which several refuse.

    Each tool call is followed by its result.
    """
    sent: Messages = [{"role": message.get("role", "user"), "content": _sendable(message)} for message in messages]
    return in_order(sent) if lacks_results(sent) else sent


def _sendable(message: Message) -> list[dict[str, Any]]:
    content = message.get("content", [])
    if message.get("role") != "assistant":
        return list(content)
    kept = [block for block in content if not is_blank(block)]
    if any("toolUse" in block for block in content):
        return [_callable(block) for block in kept]
    return kept if len(kept) == len(content) and kept else [_filled(block) for block in content] or [BLANK]


def _callable(block: dict[str, Any]) -> dict[str, Any]:
    """A tool call with a name that providers accept: they refuse a history with a name that they could not have produced."""
    call = block.get("toolUse")
    if call is None or invalid_name(call.get("name")) is None:
        return block
    return {**block, "toolUse": {**call, "name": "INVALID_TOOL_NAME"}}


def _filled(block: dict[str, Any]) -> dict[str, Any]:
    return BLANK if is_blank(block) else block
