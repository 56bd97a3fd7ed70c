"""What people are shown of a guest's run: the words of its models, and which of its records say nothing to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.foreign_chunks import foreign_text, of_chunk
from playhead.runtime.core.records import Entry, EventEmitted, StepFinished, ToolProgressed

__all__ = [
    "FRAMEWORK_STEP",
    "handover_in",
    "is_of_a_guest",
    "is_told_elsewhere",
    "own_event",
    "said_in",
    "spoken_within",
    "text_of",
    "usage_in",
    "who_said",
    "worded",
]

FRAMEWORK_STEP: Final = "/version:1"
"""The key of the step that has the framework of a run; the run of a function of one's own has none."""

_OF_A_SCOPE: Final = re.compile(r"^within:([^#]*?)(#.*)?(~\d+)?$")
"""The part of a key that `GuestContext.within` makes of a name; what follows a # is for the key alone."""

_OF_A_NAMED_CALL: Final = re.compile(r"^model:(.*?\D.*?)( \d+( .*)?)?(~\d+)?$")
"""The last part of the key of a model call that has a name, which a place in a graph may follow."""

_OF_AN_AGENT: Final = frozenset(
    {"data", "delta", "event", "init_event_loop", "message", "start", "start_event_loop", "tool_stream_event"}
)
"""Keys of the events of an agent that is a tool: its words are shown where its model call ends, its calls as calls."""


def is_of_a_guest(entry: Entry) -> bool:
    """Whether the record is one that only the runs of guests have."""
    return isinstance(entry.record, EventEmitted | StepFinished) or bool(getattr(entry.record, "lane", ""))


def is_told_elsewhere(record: ToolProgressed) -> bool:
    """Whether it is an event of an agent within a guest, of which other records tell what a person reads."""
    return bool(record.lane) and isinstance(record.data, dict) and not _OF_AN_AGENT.isdisjoint(record.data)


def text_of(chunk: Chunk) -> str:
    """The text that an item of a guest's model adds to its answer."""
    item = of_chunk(chunk)
    delta: Any = (chunk.get("contentBlockDelta") or {}).get("delta") or {}
    return str(delta["text"]) if "text" in delta else foreign_text(item)


def own_event(record: EventEmitted, *, framework: bool) -> Any:
    """What the user's code tells readers itself by that event: what a function yields, or a node of LangGraph writes; else None.

    A text of a function, as `data`, is shown as that of a model.
    """
    event = record.event
    if framework:
        return event.get("custom")
    return None if "data" in event else event


def handover_in(record: EventEmitted) -> str:
    """Which agents or nodes of a guest go on in place of which, if its event tells that; else empty."""
    match record.event:
        case {"type": "multiagent_handoff", "from_node_ids": [*before], "to_node_ids": [*after]}:
            pass
        case {"name": "handoff_occured", "item": {"source_agent": {"name": one}, "target_agent": {"name": other}}}:
            before, after = [one], [other]
        case _:
            return ""
    hands = "hands" if len(before) == 1 else "hand"
    left, right = (", ".join(sorted(map(str, one))) for one in (before, after))  # Strands has them as sets
    return f"{left} {hands} over to {right}" if left and right else ""


def spoken_within(record: EventEmitted | ToolProgressed) -> tuple[str, str] | None:
    """Which agent within a guest speaks, and the piece that it says now, if the record tells that."""
    if isinstance(record, ToolProgressed):
        if is_told_elsewhere(record) and isinstance(said := record.data.get("data"), str):
            return record.tool_use["name"], said
        return None
    match record.event:
        case {"type": "multiagent_node_stream", "node_id": node, "event": {"data": str(said)}}:
            return str(node), said
        case _:
            return None


def said_in(record: StepFinished) -> str:
    """The text of a model call that is whole in its end."""
    items = cast("list[Any]", record.value) if isinstance(record.value, list) else []
    return "".join(text_of(item) if isinstance(item, dict) else foreign_text(item) for item in items)


def usage_in(record: StepFinished) -> dict[str, int]:
    """The tokens of such a call, if its items tell them as the Converse API does."""
    items = cast("list[Any]", record.value) if isinstance(record.value, list) else []
    told = [item["metadata"].get("usage", {}) for item in items if isinstance(item, dict) and "metadata" in item]
    return {name: count for usage in told for name, count in usage.items() if isinstance(count, int)}


def worded(block: Mapping[str, Any]) -> Any:
    """What a person reads of a content block that is not text: the words that a guest's stored object has for itself, else its
    JSON value.
    """
    value: Any = block.get("json", block)
    return value["is"] if isinstance(value, dict) and value.keys() == {"is", "langgraph_value"} else value


def who_said(key: str, names: Mapping[str, str]) -> str:
    """Whose model call it is: the nodes and the tools in which it was made, else its own name. `names` has the names of tools by
    their lanes.
    """
    *parts, call = key.split("/")[1:]
    if not parts:
        named = _OF_A_NAMED_CALL.match(call)
        return named[1] if named else "model"
    lanes = ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]
    told = [names.get(lane, part) for lane, part in zip(lanes, parts, strict=True)]
    return " / ".join(_OF_A_SCOPE.sub(r"\1", part) for part in told)
