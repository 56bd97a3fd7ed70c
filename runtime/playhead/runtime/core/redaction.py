"""What a guardrail's verdict, a chunk of a model call, does to the history. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from playhead.runtime.core.context_state import last_replaced
from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.state import RunState

__all__ = ["redacted", "without_redaction"]


def redacted(state: RunState, verdict: Mapping[str, Any]) -> RunState:
    """Replace the last message to the model, which a guardrail withdrew: it must not appear in the conversation again."""
    text = verdict.get("redactUserContentMessage")
    if not text or not state.messages:
        return state
    last = state.messages[-1]
    content: list[ContentBlock] = [
        {**block, "toolResult": {**block["toolResult"], "content": [{"text": text}]}}
        for block in last.get("content", [])
        if "toolResult" in block  # the calls before them must keep a result
    ]
    message: Message = {**last, "content": content or [{"text": text}]}
    return replace(last_replaced(state, message), unredacted=state.unredacted or last)


def without_redaction(state: RunState) -> RunState:
    """The state in which a call whose owner left half-way is made again: it asks what that call asked.

    The verdict is withdrawn with the rest of the call; the guardrail gives it again. A call that failed keeps its verdict, as in
    Strands.
    """
    if state.unredacted is None or state.call_end is None:
        return state
    return replace(last_replaced(state, state.unredacted), unredacted=None)
