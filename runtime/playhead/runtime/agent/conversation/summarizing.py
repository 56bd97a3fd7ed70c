"""`SummarizingConversationManager`: the oldest messages become a summary that the model writes, as in Strands (1.62). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from playhead.runtime.agent.conversation.proactive import ProactiveCompression
from playhead.runtime.core.arguments import check_number, check_text, check_whole
from playhead.runtime.core.context import Reduction, Summarizing, first_of, ranges_of, with_pins
from playhead.runtime.core.converse import Message
from playhead.runtime.core.trimming import is_pinned, split_after

__all__ = ["DEFAULT_SUMMARIZATION_PROMPT", "SummarizingConversationManager"]

DEFAULT_SUMMARIZATION_PROMPT: Final = """You are a conversation summarizer. Provide a concise summary of the conversation \
history.

Format Requirements:
- You MUST create a structured and concise summary in bullet-point format.
- You MUST NOT respond conversationally.
- You MUST NOT address the user directly.
- You MUST NOT comment on tool availability.

Assumptions:
- You MUST NOT assume tool executions failed unless otherwise stated.

Task:
Your task is to create a structured summary document:
- It MUST contain bullet points with key topics and questions covered
- It MUST contain bullet points for all significant tools executed and their results
- It MUST contain bullet points for any code or technical information shared
- It MUST contain a section of key insights gained
- It MUST format the summary in the third person

Example format:

## Conversation Summary
* Topic 1: Key information
* Topic 2: Key information

## Tools Executed
* Tool X: Result Y"""
"""Strands' own."""


@dataclass(frozen=True, slots=True)
class SummarizingConversationManager(ProactiveCompression):
    """Replaces the oldest messages by a summary when a model refuses the history as too long. The agent's model writes it.

    Args:
        summary_ratio: The share of the messages to summarize; below 0.1 it counts as 0.1, above 0.8 as 0.8.
        preserve_recent_messages: The newest messages that are never summarized.
        summarization_system_prompt: The system prompt of the call that writes the summary; None for Strands' own.
        proactive_compression, context_window_limit, pin_first: See `ProactiveCompression`. A summary that fails before a
            call is left out, and the call is made.

    Raises:
        ValueError, TypeError: If an argument is out of its range or has the wrong type.
    """

    summary_ratio: float = 0.3
    preserve_recent_messages: int = 10
    summarization_system_prompt: str | None = None

    def __post_init__(self) -> None:
        ProactiveCompression.__post_init__(self)
        check_number("summary_ratio", self.summary_ratio)
        check_whole("preserve_recent_messages", self.preserve_recent_messages, least=0)
        check_text("summarization_system_prompt", self.summarization_system_prompt, optional=True, empty=True)

    @property
    def cannot(self) -> str:
        """See `ContextPolicy`."""
        return "Cannot summarize: insufficient messages for summarization"

    def after_overflow(self, messages: Sequence[Message]) -> Summarizing | None:
        """See `ContextPolicy`."""
        total, ratio = len(messages), max(0.1, min(0.8, self.summary_ratio))
        count = min(max(1, int(total * ratio)), total - self.preserve_recent_messages)
        end = split_after(messages, count) if count > 0 else None
        pins = first_of(messages, self.pin_first)
        marked = with_pins(messages, pins)
        removed = [place for place in range(end or 0) if not is_pinned(marked, place)]
        if end is None or not removed:
            return None
        prompt = self.summarization_system_prompt
        return Summarizing(
            messages=tuple(messages[place] for place in removed),
            system_prompt=DEFAULT_SUMMARIZATION_PROMPT if prompt is None else prompt,
            reduction=Reduction(removed=ranges_of(removed, total), pinned=pins, kept=total - end),
        )

    def before_call(self, messages: Sequence[Message], *, call: int) -> Summarizing | None:
        """See `ContextPolicy`."""
        plan = self.after_overflow(messages) if self.is_nearly_full(messages) else None
        return None if plan is None else replace(plan, reason="call")

    def at_end(self, messages: Sequence[Message]) -> None:
        """See `ContextPolicy`: the end of a run reduces nothing."""
