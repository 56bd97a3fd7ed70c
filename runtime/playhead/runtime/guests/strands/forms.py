"""What Strands gives, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from playhead.runtime.core.plain import NotPlainError, plain, plain_strict
from playhead.runtime.core.records import EventEmitted
from playhead.runtime.host.forms import steady as unvaried

__all__ = ["of_a_tool", "steady", "told_alike", "wire"]

_LIVE: Final = frozenset(
    {
        "agent",
        "event_loop_cycle_id",
        "event_loop_cycle_span",
        "event_loop_cycle_trace",
        "event_loop_parent_cycle_id",
        "messages",
        "model",
        "request_state",
        "system_prompt",
        "tool_config",
    }
)
"""Keys of what Strands merges into its events while it runs: objects of this process."""

_VARIES: Final = frozenset(
    {
        "accumulated_metrics",
        "current_tool_use",  # one object for all chunks of a call: it has what was read when it was looked at
        "event_loop_throttled_delay",  # a wait that is over is not waited again
        "execution_time",
        "metadata",
        "metrics",
        "timestamp",
        "tracking_id",
    }
)


def wire(value: object) -> Any:
    """A value as plain data. Live objects that Strands merges into its events are left out, others become what they tell."""
    if isinstance(value, dict):
        fields = cast("dict[object, object]", value)
        return {str(key): wire(item) for key, item in fields.items() if key not in _LIVE}
    if isinstance(value, list | tuple):
        return [wire(item) for item in cast("list[object]", value)]
    try:
        return plain_strict(value)
    except NotPlainError:
        told = getattr(value, "to_dict", None)
        return wire(told()) if callable(told) else plain(value)


def told_alike(logged: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether two events are the same but for times and ids: of chunks, and of what tools tell, all of them counts."""
    if "tool_stream_event" in said:
        return steady(logged) == steady(said)
    return logged.keys() == said.keys() and steady(logged.get("event")) == steady(said.get("event"))


def of_a_tool(record: EventEmitted) -> bool:
    """Whether a record is what a tool tells, in the events of a node or of an agent to which the run is delegated: the tools of
    an agent run side by side, and tell in any order.
    """
    return "tool_stream_event" in record.event or "tool_stream_event" in record.event.get("event", {})


def steady(value: Any) -> Any:
    """Plain data without what is made up each time: random ids and clocks."""
    return _in_order(unvaried(value, _VARIES))


def _in_order(value: Any) -> Any:
    """Plain data in which the lists of a graph's nodes, which Strands has as sets, are in one order."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: sorted(one) if key.endswith("_node_ids") else _in_order(one) for key, one in fields.items()}
    return [_in_order(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
