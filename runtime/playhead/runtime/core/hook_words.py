"""What a hook decided, in words, for people to read. Pure."""

from __future__ import annotations

from typing import Any, cast

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.records import HookDecided, ToolDecided

__all__ = ["hook_message", "hook_words"]


def hook_words(record: ToolDecided | HookDecided) -> str:
    """The verdict of a hook as one sentence."""
    return _of_call(record) if isinstance(record, ToolDecided) else _of_run(record)


def _of_call(record: ToolDecided) -> str:
    name = record.tool_use["name"]
    match record.verdict:
        case "cancel":
            return f"a hook cancels the call of {name}: {record.message}"
        case "change" if record.change is not None:
            now, given = record.tool or record.change["name"], json_line(record.change["input"], other=str)
            return f"a hook changes the call of {name} to {now} {given}"
        case "retry":
            return f"a hook drops the result of {name}, which is called again"
        case other:
            return f"a hook decides about the call of {name}: {other}"


def _of_run(record: HookDecided) -> str:
    match record.event, record.verdict:
        case event, "cancel_run":
            cancel = Cancel.read(record.value)
            when = " after the calls" if cancel.after_current_tools else ""
            return f"a hook of {event} cancels the run{when}" + (
                "" if cancel.message is None else f": {cancel.message}"
            )
        case "BeforeInvocationEvent", "messages":
            return "a hook changes the prompt"
        case "BeforeInvocationEvent", "cancel":
            return f"a hook does not let the run begin: {_text(record.value)}"
        case "BeforeModelCallEvent", "cancel":
            return f"a hook does not let the model be called: {_text(record.value)}"
        case "BeforeToolsEvent", "cancel":
            return f"a hook cancels the calls: {record.value}"
        case "BeforeToolsEvent", "interrupt":
            return f"a hook asks about the calls: {', '.join(str(one.get('name', '')) for one in record.interrupts)}"
        case "AfterToolsEvent", "end_turn":
            return f"a hook ends the turn: {_text(record.value)}"
        case "AfterInvocationEvent", "resume":
            said = record.value if isinstance(record.value, str) else json_line(record.value, other=str)
            return f"a hook lets the run go on: {said}"
        case event, verdict:
            return f"a hook of {event} decides: {verdict}"


def hook_message(record: ToolDecided | HookDecided) -> str | None:
    """The text of the message of the assistant that a hook's verdict holds; None if it holds none."""
    speaks = ("BeforeInvocationEvent", "cancel"), ("BeforeModelCallEvent", "cancel"), ("AfterToolsEvent", "end_turn")
    if not isinstance(record, HookDecided) or (record.event, record.verdict) not in speaks:
        return None
    return _text(record.value)


def _text(message: Any) -> str:
    given = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    blocks = cast("list[Any]", given.get("content") or [])
    return " ".join(str(block["text"]) for block in blocks if isinstance(block, dict) and "text" in block)
