"""The differences between a recorded run and today's code, as values and as text. Pure, except for `place_of`."""

from __future__ import annotations

import difflib
import inspect
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from playhead.runtime.core.converse import ToolChoice, ToolSpec
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.hook_effects import hook_of
from playhead.runtime.core.json_lines import json_ready
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import (
    ContextReduced,
    HookDecided,
    MessageAdded,
    ModelFailed,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.system_prompt import beside_text
from playhead.runtime.loop.tool_batch import OUTCOME_UNKNOWN

__all__ = [
    "KINDS",
    "Change",
    "Difference",
    "decided_by",
    "essence",
    "place_of",
    "record_change",
    "request_changes",
    "tool_changes",
]

KINDS: Final = (
    "agent",
    "system_prompt",
    "tools",
    "tool_order",
    "tool_description",
    "tool_default",
    "tool_schema",
    "tool_choice",
    "model",
    "history",
    "retry",
    "context",
    "limit",
    "executor",
    "on_partial",
    "unknown_outcome",
    "tool_call",
    "tool_result",
    "hook",
    "exception",
    "stop_reason",
    "message",
    "event",
    "step",
    "question",
    "request",
    "result",
    "failure",
    "record",
)
"""The kinds of differences, for `Change.kind`."""

_TIMES: Final = ("v", "at", "duration_ms", "trace")
_DETAILS: Final = ("per_cycle", "per_tool")  # of metrics: they have times, and version 0.1 did not have them
_CONTEXT_LINES: Final = 2
_MOST_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        kind: One of `KINDS`.
        what: What differs, in words.
        recorded: The recorded value, as plain data; None if nothing was recorded.
        now: The value that would be recorded now; None if nothing would be.
        where: `file:line` of the function or the agent that caused it; empty if that is not known.
    """

    kind: str
    what: str
    recorded: Any = None
    now: Any = None
    where: str = ""

    @property
    def text(self) -> str:
        """The change as lines of text: a heading, then the recorded value (`-`) and the one of now (`+`)."""
        heading = f"{self.kind}: {self.what}" + (f" ({_from_here(self.where)})" if self.where else "")
        return "\n".join([heading, *(f"  {line}" for line in _diff(self.recorded, self.now))])


@dataclass(frozen=True, slots=True)
class Difference:
    """The first record that differs.

    Attributes:
        run_id: The run.
        seq: The number of the record.
        epoch: The epoch of its owner.
        record: The record's type.
        changes: The differences there, in order; at least one.
    """

    run_id: str
    seq: int
    epoch: int
    record: str
    changes: tuple[Change, ...]

    @property
    def kind(self) -> str:
        """The kind of the first change."""
        return self.changes[0].kind

    @property
    def text(self) -> str:
        """The difference as lines of text."""
        heading = f"record {self.seq}-{self.epoch} of run {self.run_id}, {self.record}, differs (- recorded, + now)"
        return "\n".join([heading, *(change.text for change in self.changes)])


def _diff(recorded: Any, now: Any) -> list[str]:
    before, after = _lines(recorded), _lines(now)
    lines = [line.rstrip("\n") for line in difflib.unified_diff(before, after, n=_CONTEXT_LINES, lineterm="")][2:]
    kept = [line for line in lines if not line.startswith("@@")]
    more = len(kept) - _MOST_LINES
    return [*kept[:_MOST_LINES], f"… {more} more lines"] if more > 0 else kept


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(json_ready(value), ensure_ascii=False, indent=1, default=str)
    return text.split("\n")


def _from_here(place: str) -> str:
    """A path, relative to the current folder if it is inside it."""
    return place.removeprefix(f"{os.getcwd()}{os.sep}")


def place_of(thing: object) -> str:
    """`file:line` of a function, or of the function of a tool; empty if it has no source."""
    function = inspect.unwrap(cast("Any", thing)) if callable(thing) else thing
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


# Records


def essence(record: Record, *, live: bool = False) -> dict[str, Any]:
    """The part of a record that follows from the run, without its time, durations, or a new message's id.

    For a message that a model made now (`live`), also without its costs.
    """
    kept = {key: value for key, value in dict(record).items() if key not in _TIMES}
    if isinstance(record, MessageAdded):
        message = {key: value for key, value in record.message.items() if key != "tracking_id"}
        metadata = message.get("metadata")
        if live:
            message.pop("metadata", None)
        elif isinstance(metadata, dict) and "metrics" in metadata:
            given = cast("dict[str, Any]", metadata)
            metrics = {key: value for key, value in given["metrics"].items() if key != "timeToFirstByteMs"}
            message["metadata"] = {**given, "metrics": metrics}
        kept["message"] = message
    elif isinstance(record, HookDecided) and isinstance(record.value, dict):  # a message that the hook made
        kept["value"] = {key: value for key, value in record.value.items() if key != "tracking_id"}
    if isinstance(record, ContextReduced) and record.summary is not None:
        kept["summary"] = {key: value for key, value in record.summary.items() if key != "tracking_id"}
    if isinstance(record, RunCompleted | RunCancelled | RunPaused) and "metrics" in record.result:
        given = cast("dict[str, Any]", record.result["metrics"])
        metrics = {key: value for key, value in given.items() if key not in _DETAILS}
        kept["result"] = {**record.result, "metrics": metrics}
    kept.pop(
        "delay" if isinstance(record, ModelStarted) else "", None
    )  # that of the model.failed; 0.1 did not store it
    return kept


def decided_by(recorded: Record, now: Record | None) -> str | None:
    """The event of the hook whose verdict two records differ in; None if they differ in something else."""
    if isinstance(recorded, ToolFinished) and isinstance(now, ToolFinished):
        before, after = recorded.returned or recorded.result, now.returned or now.result
        return (hook_of(recorded) or hook_of(now)) if before == after else None
    return hook_of(recorded) or hook_of(now)


def record_change(
    recorded: Record,
    now: Record | None,
    *,
    live: bool,
    executor: bool,
    began: frozenset[int],
    ran: Collection[str],
    where: str,
) -> Change:
    """The difference between a recorded record and the one that the loop would write now.

    Args:
        recorded: The record of the log.
        now: The record that is made now; None if the loop ends here.
        live: Whether the record belongs to a model call that was made now.
        executor: Whether the agent is known to run the calls of a message differently from the owner.
        began: The calls that a former owner began, whose outcome is unknown.
        ran: The names of the tools that were run for this, and not played.
        where: `file:line` of the called tool, or of the agent.
    """
    kind = _kind(recorded, now, executor=executor, began=began, ran=ran)
    if now is None:
        return Change(kind, f"a {recorded.type} was recorded, and the run would stop before it now", essence(recorded))
    if now.type != recorded.type:
        what = f"a {recorded.type} was recorded, and a {now.type} would be written now"
        return Change(kind, what, essence(recorded), essence(now), where)
    before, after = essence(recorded, live=live), essence(now, live=live)
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    what = f"{', '.join(differing)} of a {recorded.type}"
    only = differing[0] if len(differing) == 1 else None
    return Change(kind, what, before.get(only) if only else before, after.get(only) if only else after, where)


def _kind(recorded: Record, now: Record | None, *, executor: bool, began: frozenset[int], ran: Collection[str]) -> str:
    types = {recorded.type, now.type if now is not None else ""}
    if decided_by(recorded, now) is not None:
        return "hook"
    if isinstance(now, RunFailed) and now.error_type == "RecordTooLargeError" and not isinstance(recorded, RunFailed):
        return "limit"
    if "state.changed" in types:
        return "hook"
    if "context.reduced" in types:
        return "context"
    if types == {"model.retried", "model.started"}:
        return "on_partial"
    if types & {"model.retried", "model.failed"}:
        return "retry"
    if len(types) == 1:
        return _kind_of_fields(recorded, cast("Record", now), ran=ran)
    if not all(name.startswith("tool.") for name in types):
        return "record"
    if any(_asks_for_outcome(one, began) for one in (recorded, now)):
        return "unknown_outcome"
    if executor:
        return "executor"
    return "tool_result" if types == {"tool.finished", "tool.interrupted"} else "tool_call"


def _kind_of_fields(recorded: Record, now: Record, *, ran: Collection[str]) -> str:
    match recorded, now:
        case MessageAdded(), MessageAdded():
            said = [one.message.get("content") for one in (recorded, now)]
            return "message" if said[0] != said[1] else "stop_reason"
        case ToolFinished(), ToolFinished():
            if now.name not in ran:
                return "limit"  # a recorded result that is not taken over can only be too large
            return "exception" if "error" in (recorded.result["status"], now.result["status"]) else "tool_result"
        case (ModelFailed(), _):
            return "retry"
        case _:
            return {"run.completed": "result", "run.cancelled": "result", "run.failed": "failure"}.get(
                recorded.type, "tool_call" if recorded.type.startswith("tool.") else "record"
            )


def _asks_for_outcome(record: Record | None, began: frozenset[int]) -> bool:
    match record:
        case ToolStarted(index=index):
            return index in began
        case ToolInterrupted(index=index):
            return index in began
        case ToolFinished(index=index, result=result):
            return index in began and result["content"] == [{"text": OUTCOME_UNKNOWN}]
        case _:
            return False


# Requests


def request_changes(
    recorded: AgentDefinition,
    now: AgentDefinition,
    *,
    sent: ModelRequest,
    offered: tuple[Sequence[ToolSpec], ToolChoice | None],
    differs: Mapping[str, Any],
    places: Mapping[str, str],
) -> Iterator[Change]:
    """The differences between the recorded request of a model call and the one that is made now.

    The messages that the run has added are the same, because the records before the call are; so of the messages only
    the agent's own are compared.

    Args:
        recorded: The definition that the owner used for the call.
        now: Today's definition of the agent.
        sent: The request that is made now.
        offered: The tools and the tool choice of the recorded request.
        differs: The values that were sent instead, by the recorded `model.started`.
        places: `file:line` of each tool by its name, and of the agent under an empty name.
    """
    agent = places.get("", "")
    if recorded.agent != now.agent:
        yield Change("agent", "the run is of another agent", recorded.agent, now.agent, agent)
    prompt = differs.get("system_prompt", recorded.system_prompt)
    blocks = None if "system_prompt" in differs else recorded.system_prompt_content
    if prompt != plain(sent.system_prompt):
        yield Change("system_prompt", "the system prompt", prompt, sent.system_prompt, agent)
    elif beside_text(prompt, blocks) != plain(sent.system_prompt_content):
        what = "the blocks of the system prompt"
        yield Change("system_prompt", what, blocks, sent.system_prompt_content, agent)
    specs, choice = differs.get("tool_specs", offered[0]), differs.get("tool_choice", offered[1])
    yield from tool_changes(specs or [], plain(sent.tool_specs or []), places)
    if "messages" in differs and differs["messages"] != plain(sent.messages):
        yield Change("history", "the messages that are sent", differs["messages"], sent.messages, agent)
    elif list(recorded.messages) != list(now.messages):
        yield Change("history", "the agent's own messages", list(recorded.messages), list(now.messages), agent)
    if choice != plain(sent.tool_choice):
        yield Change("tool_choice", "the tool choice", choice, sent.tool_choice, agent)
    if dict(recorded.model) != dict(now.model):
        yield Change("model", "the model or its parameters", dict(recorded.model), dict(now.model), agent)


def tool_changes(
    recorded: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], places: Mapping[str, str]
) -> Iterator[Change]:
    """The differences between the tools that a model was offered and those that it is offered now."""
    before, after = {spec["name"]: spec for spec in recorded}, {spec["name"]: spec for spec in now}
    if before.keys() != after.keys():
        yield Change("tools", "the tools that are offered", list(before), list(after), places.get("", ""))
    elif list(before) != list(after):
        yield Change("tool_order", "the order of the tools", list(before), list(after), places.get("", ""))
    for name in before:
        if name in after and before[name] != after[name]:
            yield from _spec_changes(name, before[name], after[name], places.get(name, ""))


def _spec_changes(name: str, recorded: Mapping[str, Any], now: Mapping[str, Any], where: str) -> Iterator[Change]:
    if recorded["description"] != now["description"]:
        what = f"the description of the tool {name}"
        yield Change("tool_description", what, recorded["description"], now["description"], where)
    before, after = recorded["inputSchema"], now["inputSchema"]
    if before == after:
        return
    if _without_defaults(before) == _without_defaults(after):
        yield Change("tool_default", f"a default of the tool {name}", before, after, where)
    else:
        yield Change("tool_schema", f"the input schema of the tool {name}", before, after, where)


def _without_defaults(schema: Any) -> Any:
    """A JSON schema without the effects of defaults: a parameter with a default is not required."""
    if isinstance(schema, Mapping):
        items = cast("Mapping[str, Any]", schema).items()
        return {key: _without_defaults(item) for key, item in items if key not in ("default", "required")}
    return [_without_defaults(item) for item in cast("list[Any]", schema)] if isinstance(schema, list) else schema
