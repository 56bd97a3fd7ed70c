"""Children: the runs of agents that are tools of another agent. Their ids, their questions, their results. Pure.

A call of such a tool is a run of its own. What its parent's readers see of it is in the parent's log, too, so that a log
alone gives the whole stream; see `ChildRecorded`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from playhead.runtime.core.converse import ContentBlock, Message, ToolResult
from playhead.runtime.core.ids import derived_run_id
from playhead.runtime.core.limits import is_limit_reason
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    CycleStarted,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunResumed,
    StructuredOutputProduced,
    ToolDecided,
    ToolInterrupted,
    ToolProgressed,
)
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.segments import Segment, Stored
from playhead.runtime.core.tool_results import error_result

__all__ = [
    "PARENT",
    "Child",
    "records_after",
    "child_agent",
    "child_messages",
    "child_of",
    "child_question",
    "child_recorded",
    "child_result",
    "child_started",
    "own_answers",
    "parent_option",
    "parts",
    "spent_child",
    "told",
]

PARENT: Final = "parent"
"""The key of a child's options and of its metadata that names its parent."""

_TOLD: Final = (
    CycleStarted,
    ModelStarted,
    ModelRetried,
    ModelFailed,
    ToolProgressed,
    ToolDecided,
    HookDecided,
    ToolInterrupted,
    StructuredOutputProduced,
    ChildStarted,
    ChildRecorded,
    RunResumed,
    RunFailed,
)


@dataclass(frozen=True, slots=True)
class Child:
    """The child of an open call.

    Attributes:
        run: Its id.
        attempt: 1, and one more for each child before it whose result a hook dropped.
        upto: The number, in its own log, of its last record that its parent's log has.
        spent: Whether a hook dropped its result: the call runs again, with another child.
    """

    run: str
    attempt: int = 1
    upto: int = 0
    spent: bool = False


def child_started(children: Mapping[int, Child], record: ChildStarted) -> dict[int, Child]:
    """The children after a call got one."""
    return {**children, record.index: Child(record.run, record.attempt)}


def child_recorded(children: Mapping[int, Child], record: ChildRecorded) -> Mapping[int, Child]:
    """The children after records of one of them."""
    known = children.get(record.index)
    return children if known is None else {**children, record.index: replace(known, upto=record.upto)}


def spent_child(children: Mapping[int, Child], index: int) -> Mapping[int, Child]:
    """The children after the result of a call was dropped."""
    known = children.get(index)
    return children if known is None else {**children, index: replace(known, spent=True)}


def child_of(key: str, known: Child | None, *, parent: str) -> Child:
    """The child of the call with this effect key; `known` is the one that the log has of the call.

    A fork has `known` of its parent, and a child of its own, because its keys are its own.
    """
    attempt = 1 if known is None else known.attempt + known.spent
    run = derived_run_id(key if attempt == 1 else f"{key} attempt {attempt}", beside=parent)
    return known if known is not None and known.run == run else Child(run, attempt)


def child_agent(parent: str, tool: str) -> str:
    """The name, in the log, of the agent that is the tool `tool` of the agent `parent`."""
    return f"{parent}.{tool}"


def parent_option(parent: str, key: str) -> dict[str, Any]:
    """What a child's record 1 has of its parent: the run, and the effect key of the call."""
    return {PARENT: {"run": parent, "call": key}}


def child_question(call: str, interrupt: Mapping[str, Any]) -> dict[str, Any]:
    """A question of a child as its parent asks it; `call` is the call's part of its effect key. The ids are Strands'."""
    return {**interrupt, "id": f"{_prefix(call)}{interrupt['id']}"}


def own_answers(call: str, responses: Mapping[str, Any]) -> dict[str, Any]:
    """The responses to the questions of a call's child, by the child's own ids."""
    prefix = _prefix(call)
    return {key.removeprefix(prefix): value for key, value in responses.items() if key.startswith(prefix)}


def _prefix(call: str) -> str:
    return f"v1:agent_as_tool:{quote(call, safe='')}:"


def told(segment: Segment) -> tuple[int, list[Any]]:
    """The records of a child that its parent's log has: the number of the last one, and all of them in their stored form."""
    upto, values = 0, list[Any]()
    for seq, stored in enumerate(segment.values, segment.first):
        if _has_events(stored):
            upto = seq
            values.append(stored if isinstance(stored, list) else dict(stored))
    return upto, values


def records_after(segment: Segment, after: int) -> Segment | None:
    """The records of a segment after this one; None if there are none."""
    known = max(0, after + 1 - segment.first)
    values = segment.values[known:]
    return Segment(segment.first + known, segment.epoch, values) if values else None


def parts(segment: Segment) -> Iterator[Segment]:
    """Records of a child in parts, of which each begins with a model call or its retraction, but perhaps the first.

    Readers of the parent see a child that answers for it in the parent's own records. They take back whole ones.
    """
    first = 0
    for at, stored in enumerate(segment.values):
        if at > first and isinstance(stored, ModelStarted | ModelRetried):
            yield Segment(segment.first + first, segment.epoch, segment.values[first:at])
            first = at
    yield Segment(segment.first + first, segment.epoch, segment.values[first:])


def child_messages(record: ChildRecorded) -> list[Message]:
    """The messages of the child's model among these records of it."""
    added = [one for one in record.values if isinstance(one, dict) and one.get("type") == "message.added"]
    return [one["message"] for one in added if one["origin"] == "model"]


def _has_events(stored: Stored) -> bool:
    if isinstance(stored, list | ModelChunk):
        return True
    match stored:
        case MessageAdded(origin=origin):
            return origin in ("model", "tools")
        case RunCompleted(result=result):
            return is_limit_reason(result.get("stop_reason"))
        case _:
            return isinstance(stored, _TOLD)


def delegated_result(tool_use_id: str, result: AgentResult) -> ToolResult:
    """The result of a call that delegates: the texts of the answer as they are, in blocks of their own."""
    blocks = [block for block in result.message.get("content", []) if "text" in block]
    content: list[ContentBlock] = [{"text": block["text"]} for block in blocks] or [{"text": str(result).rstrip("\n")}]
    return {"toolUseId": tool_use_id, "status": "success", "content": content}


def child_result(tool: str, tool_use_id: str, last: Record, *, delegates: bool = False) -> ToolResult:
    """The result of a call whose child ended with the record `last`, in Strands' words."""
    match last:
        case RunCompleted(result=given):
            result = AgentResult(given)
            if result.structured_output:
                return {"toolUseId": tool_use_id, "status": "success", "content": [{"json": result.structured_output}]}
            if delegates:
                return delegated_result(tool_use_id, result)
            return {"toolUseId": tool_use_id, "status": "success", "content": [{"text": str(result)}]}
        case RunCancelled():
            return error_result(tool_use_id, f"Agent '{tool}' cancelled")
        case RunFailed(message=message):
            return error_result(tool_use_id, f"Agent error: {message}")
        case _:
            return error_result(tool_use_id, "Agent did not produce a result")
