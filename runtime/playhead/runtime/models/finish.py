"""Translates servers' finish reasons to Converse's stop reasons. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["finish_word", "is_failure", "stop_reason"]

_STOP_REASONS: Final = {
    "end_turn": "stop end_turn eos eos_token end end_of_text complete completed done finish finished normal success",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls tool_call tool_use function_call function_calls",
    "max_tokens": "length max_tokens max_length max_output_tokens max_completion_tokens model_length token_limit length_limit "
    "model_context_window_exceeded",
    "content_filtered": "content_filter content_filtered safety recitation blocklist prohibited_content spii sensitive "
    "image_safety moderation guardrail refusal",
}
_MEANING: Final = {word: reason for reason, words in _STOP_REASONS.items() for word in words.split()}
"""The words of OpenAI, Anthropic, Gemini, Mistral, TGI, Zhipu and others."""

_WEIGHT: Final = {"content_filtered": 2, "max_tokens": 1}
"""Of several reasons in one stream the most severe counts, then the last: many gateways end every stream with `stop`."""

_FAILURE: Final = re.compile(
    "error|abort|cancel|fail|malformed|invalid|interrupt|time_?d?_?out|insufficient|unavailable|overload|exceed|limit|"
    "network|disconnect|unexpected|too_many|missing|unsupported|incomplete|crash|kill|preempt|evict|internal|reject"
)


def finish_word(reason: Any) -> str:
    """A server's finish reason as one lower-case word; empty if it gave none."""
    return "_".join(re.split(r"[\s_-]+", str(reason).strip().lower())) if reason else ""


def is_failure(word: str) -> bool:
    """Whether a finish word, such as `network_error`, says that the message broke off."""
    return word not in _MEANING and bool(_FAILURE.search(word))


def stop_reason(words: list[str], *, called: bool) -> str:
    """The stop reason for a stream's finish words; an unknown word is used as it is.

    Servers disagree on `stop` and `tool_calls`, so whether there is a tool call decides between those.
    """
    reasons = [_MEANING.get(word, word) for word in words] or ["end_turn"]
    heaviest = max(_WEIGHT.get(reason, 0) for reason in reasons)
    reason = [reason for reason in reasons if _WEIGHT.get(reason, 0) == heaviest][-1]
    if reason in _WEIGHT:
        return reason
    if called:
        return "tool_use"
    return "end_turn" if reason == "tool_use" else reason
