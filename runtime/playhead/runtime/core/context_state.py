"""The state of a run after a reduction of its history. Pure."""

from __future__ import annotations

from dataclasses import replace

from playhead.runtime.core.context import Reduction, is_marker, marker, reduced
from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import ContextReduced, ModelFailed
from playhead.runtime.core.state import RunState

__all__ = ["after_reduction", "after_refusal", "last_replaced"]


def after_refusal(state: RunState, record: ModelFailed) -> RunState:
    """The state after a call whose history was too long."""
    return replace(state, overflow=record)


def after_reduction(state: RunState, record: ContextReduced) -> RunState:
    """The state after `context.reduced`. A session gets the messages that were left out, and a marker of the reduction."""
    reduction = Reduction(
        removed=tuple(record.removed),
        pinned=tuple(record.pinned),
        cut=record.cut,
        summary=record.summary,
        kept=record.kept,
    )
    state = replace(state, managed=True, summarizing=False, call_open=None, call_end=None)
    if reduction == Reduction():  # the summary before a call failed
        return state
    messages = reduced(state.messages, reduction)
    spoken = next((one for one in reversed(state.messages) if one.get("role") == "assistant"), state.spoken)
    changed = replace(
        state,
        messages=messages,
        history=len(messages),
        said=(*state.added, marker(reduction)),
        spoken=spoken,
    )
    if record.reason != "overflow":
        return changed
    return replace(changed, phase="between", overflow=None, again=True)


def last_replaced(state: RunState, message: Message) -> RunState:
    """The state with another last message, which a guardrail withdrew: in the session, too."""
    last, said = state.messages[-1], state.said
    if state.history == len(state.messages):  # it was said before the last reduction
        said = tuple(message if one is last and not is_marker(one) else one for one in said)
    return replace(state, messages=(*state.messages[:-1], message), said=said)
