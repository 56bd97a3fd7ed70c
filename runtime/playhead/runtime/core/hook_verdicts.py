"""What hooks may decide, as values, and the records that keep it. Pure.

The names of the events, their powers and the default texts are Strands' (1.62).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from playhead.runtime.core.cancels import Cancel, together
from playhead.runtime.core.converse import ContentBlock, Message, ToolResult, ToolUse
from playhead.runtime.core.hook_effects import cancelled
from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.records import HookDecided, Record, ToolDecided, ToolInterrupted, now_ms
from playhead.runtime.core.state import RunState

__all__ = [
    "BATCH_CANCELLED_TEXT",
    "CALL_CANCELLED_TEXT",
    "INVOCATION_CANCELLED_TEXT",
    "MODEL_CALL_CANCELLED_TEXT",
    "TURN_ENDED_TEXT",
    "BatchVerdict",
    "CallVerdict",
    "InvocationVerdict",
    "ResultVerdict",
    "batch_records",
    "call_records",
    "cancel_records",
    "invocation_records",
    "said",
    "text_of",
]

INVOCATION_CANCELLED_TEXT: Final = "invocation denied by hook"
MODEL_CALL_CANCELLED_TEXT: Final = "model call denied by hook"
BATCH_CANCELLED_TEXT: Final = "Tool cancelled by hook"
CALL_CANCELLED_TEXT: Final = "tool cancelled by user"
TURN_ENDED_TEXT: Final = "Turn ended early by hook after tool execution"

_IN_CALLS: Final = ("BeforeToolCallEvent", "AfterToolCallEvent", "AfterToolsEvent")

Interrupts = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class InvocationVerdict:
    """What hooks decided before an invocation: the text of a cancel, or other messages than the prompt's; else nothing."""

    cancel: str | None = None
    messages: list[Message] | None = None


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    """What hooks decided before the calls of a message: to ask a human, or the text of a cancel; else nothing."""

    interrupts: Interrupts = ()
    cancel: str | None = None


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """What hooks decided before a call: to ask a human, the text of a cancel, or another call; else nothing.

    Attributes:
        interrupts: The questions.
        cancel: The text of the call's error result.
        change: The call that runs.
        tool: The tool that runs it, if it is not the one that `change` names; None otherwise.
        tool_name: The name of that tool.
    """

    interrupts: Interrupts = ()
    cancel: str | None = None
    change: ToolUse | None = None
    tool: Any = None
    tool_name: str = ""


@dataclass(frozen=True, slots=True)
class ResultVerdict:
    """What hooks decided after a call: to run it again, or another result; else nothing."""

    retry: bool = False
    result: ToolResult | None = None


def text_of(given: bool | str, default: str) -> str | None:
    """The text of a cancel: what a hook gave, or the default for True; None for False or an empty text."""
    if not given:
        return None
    return plain_text(given) if isinstance(given, str) else default


def said(content: str | list[ContentBlock]) -> Message:
    """The message of the assistant that a hook has in place of the model."""
    blocks: list[ContentBlock] = [{"text": content}] if isinstance(content, str) else content
    return {"role": "assistant", "content": blocks, "tracking_id": str(uuid4())}


def invocation_records(verdict: InvocationVerdict) -> list[Record]:
    """The record of a verdict; none if nothing was decided."""
    event = "BeforeInvocationEvent"
    if verdict.cancel is not None:
        return [HookDecided(at=now_ms(), event=event, verdict="cancel", value=said(verdict.cancel))]
    if verdict.messages is not None:
        return [HookDecided(at=now_ms(), event=event, verdict="messages", value=verdict.messages)]
    return []


def batch_records(verdict: BatchVerdict) -> list[Record]:
    """The record of a verdict; none if nothing was decided."""
    event, asked = "BeforeToolsEvent", list(verdict.interrupts)
    if asked:
        return [HookDecided(at=now_ms(), event=event, verdict="interrupt", interrupts=asked)]
    if verdict.cancel is not None:
        return [HookDecided(at=now_ms(), event=event, verdict="cancel", value=verdict.cancel)]
    return []


def cancel_records(event: str, cancels: Sequence[Cancel], state: RunState) -> list[Record]:
    """The record of the cancels that the hooks of an event asked for; none if they change nothing.

    As in Strands, the calls of a message run to their end once one of them has begun; and a run that ends is not cancelled.
    """
    cancel = together(cancels)
    if cancel is None or event == "AfterInvocationEvent":
        return []
    if event in _IN_CALLS:
        cancel = replace(cancel, after_current_tools=True)
    if cancelled(state, cancel) == state:
        return []
    return [HookDecided(at=now_ms(), event=event, verdict="cancel_run", value=cancel.body)]


def call_records(verdict: CallVerdict, *, index: int, use: ToolUse) -> list[Record]:
    """The record of a verdict about the call `use`; none if nothing was decided."""
    at, asked = now_ms(), list(verdict.interrupts)
    if asked:
        return [ToolInterrupted(at=at, index=index, tool_use=use, interrupts=asked)]
    if verdict.cancel is not None:
        return [ToolDecided(at=at, index=index, tool_use=use, verdict="cancel", message=verdict.cancel)]
    if verdict.change is not None:
        name, change = verdict.tool_name, verdict.change
        return [ToolDecided(at=at, index=index, tool_use=use, verdict="change", change=change, tool=name)]
    return []
