"""The effect of the records of hooks on the state of a run, and which hook caused a record. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.children import spent_child
from playhead.runtime.core.converse import Message
from playhead.runtime.core.interrupts import is_hook_question
from playhead.runtime.core.records import (
    ASKED_AGAIN,
    FAILED_ASKED_AGAIN,
    HookDecided,
    ModelRetried,
    Record,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
)
from playhead.runtime.core.state import ALL_CALLS, RunState
from playhead.runtime.core.stopping import Stop

__all__ = ["cancelled", "closed_with", "hook_decided", "hook_events", "hook_of", "tool_decided"]


def tool_decided(state: RunState, record: ToolDecided) -> RunState:
    """The state after a hook's verdict about one call."""
    index = record.index
    if record.verdict == "retry":
        kept = {key: one for key, one in state.decided.items() if key != index}
        children = spent_child(state.children, index)
        return replace(state, decided=kept, started=state.started - {index}, children=children)
    return replace(state, decided={**state.decided, index: record})


def hook_decided(state: RunState, record: HookDecided) -> RunState:
    """The state after a hook's verdict; one that this version does not know changes nothing."""
    value = record.value
    match record.event, record.verdict:
        case event, "cancel_run":
            return replace(
                cancelled(state, Cancel.read(value)), invoked=state.invoked or event == "BeforeInvocationEvent"
            )
        case "BeforeInvocationEvent", "messages":
            return replace(state, prompt=value, invoked=True)
        case "BeforeInvocationEvent", "cancel":
            return closed_with(state, value)
        case "BeforeModelCallEvent", "cancel":  # as if the model had said it
            return replace(closed_with(state, value), phase="answered")
        case "BeforeToolsEvent", "cancel":
            return replace(state, refused=str(value))
        case "BeforeToolsEvent", "interrupt":
            return _interrupted(state, record)
        case "AfterToolsEvent", "end_turn":
            return replace(state, last_message=value)
        case "AfterInvocationEvent", "resume":
            return _resumed(state, value)
        case _:
            return state


def cancelled(state: RunState, cancel: Cancel) -> RunState:
    """The state after a cancel; one that comes when the run's last message is in the history changes nothing."""
    if state.closing:
        return state
    if cancel.after_current_tools:  # it ends the run as a tool's request does
        return replace(state, stop=Stop(text=cancel.message).after(state.stop))
    return replace(state, cancelled=True, cancel_text=cancel.message or state.cancel_text)


def _resumed(state: RunState, prompt: Any) -> RunState:
    """The state of a run that goes on with another prompt, as a new call: what ended it counts no longer."""
    return replace(
        state,
        prompt=prompt,
        phase="opening",
        opened=0,
        invoked=False,
        stop_reason=None,
        forced=False,
        stop=None,
        output=None,
        closing=False,
    )


def _interrupted(state: RunState, record: HookDecided) -> RunState:
    asked = {str(interrupt.get("id")): interrupt for interrupt in record.interrupts}
    return replace(
        state,
        interrupted={**state.interrupted, ALL_CALLS: tuple(asked)},
        interrupts={**state.interrupts, **asked},
        responses={key: given for key, given in state.responses.items() if key not in asked},
    )


def closed_with(state: RunState, message: Message) -> RunState:
    """The state after the message with which a hook ends the turn."""
    return replace(
        state,
        messages=(*state.messages, message),
        phase="closed",
        call_open=None,
        call_end=None,
        stop_reason="end_turn",
        last_message=None,
    )


def hook_events(record: Record) -> list[dict[str, Any]]:
    """What a consumer sees of a verdict: that a call was cancelled, or the message in place of the model's."""
    match record:
        case ToolDecided(verdict="cancel", tool_use=use, message=text):
            return [{"tool_cancel_event": {"tool_use": use, "message": text}}]
        case HookDecided(event="BeforeModelCallEvent", verdict="cancel", value=message):
            return [{"message": message}]
        case _:
            return []


def hook_of(record: Record | None) -> str | None:
    """The event of the hook that caused a record; None if no hook did."""
    match record:
        case ToolDecided(verdict="retry"):
            return "AfterToolCallEvent"
        case ToolFinished() if record.returned is not None:
            return "AfterToolCallEvent"
        case ToolDecided():
            return "BeforeToolCallEvent"
        case ToolInterrupted(interrupts=asked) if any(is_hook_question(str(one.get("id"))) for one in asked):
            return "BeforeToolCallEvent"
        case HookDecided(event=event):
            return event
        case ModelRetried(reason=reason) if reason in (ASKED_AGAIN, FAILED_ASKED_AGAIN):
            return "AfterModelCallEvent"
        case _:
            return None
