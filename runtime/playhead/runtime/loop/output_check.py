"""Checks a structured output in the loop, in place of a tool's body: by its class where that is at hand, else by its schema."""

from __future__ import annotations

from typing import Any

from playhead.runtime.core.converse import Message, ToolResult, ToolUse
from playhead.runtime.core.json_schema import schema_flaws
from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.records import Record, RunFailed, StructuredOutputProduced, now_ms
from playhead.runtime.core.structured_output import NO_OUTPUT_TEXT, OutputSchema, class_flaws, json_object_of
from playhead.runtime.core.tool_input import unread_input, unread_result
from playhead.runtime.core.tool_results import error_result

__all__ = ["checked_call", "read_output"]


def checked_call(output: OutputSchema, call: ToolUse, *, index: int, message: Message) -> ToolResult:
    """The result of a call of the structured output's tool, in Strands' words; `index` is its position in `message`."""
    if (text := unread_input(message, index)) is not None:
        return unread_result(call, text)
    try:
        flaws = _flaws(output, {} if call["input"] is None else call["input"])
    except Exception as error:  # a validator of the class may raise anything
        return error_result(call["toolUseId"], f"Unexpected error validating {output.name}: {error}")
    if flaws:
        told = f"Validation failed for {output.name}. Please fix the following errors:"
        return error_result(call["toolUseId"], "\n".join([told, *flaws]))
    said = f"Successfully validated {output.name} structured output"
    return {"toolUseId": call["toolUseId"], "status": "success", "content": [{"text": said}]}


def read_output(output: OutputSchema, message: Message) -> Record:
    """The structured output that the text of a message is, or the failure of the run."""
    value = json_object_of(message)
    flaw = NO_OUTPUT_TEXT if value is None else None
    try:
        if value is not None and (flaws := _flaws(output, value)):
            flaw = "\n".join([f"Structured output failed validation for {output.name}:", *flaws])
    except Exception as error:  # as above
        flaw = f"Unexpected error validating {output.name}: {error}"
    if flaw is not None:
        return RunFailed(at=now_ms(), error_type="StructuredOutputException", message=plain_text(flaw))
    return StructuredOutputProduced(at=now_ms(), name=output.name, value=value)


def _flaws(output: OutputSchema, value: Any) -> list[str]:
    found = schema_flaws(output.schema, value) if output.cls is None else class_flaws(output.cls, value)
    return [f"- Field '{' -> '.join(map(str, path)) or 'root'}': {message}" for path, message in found]
