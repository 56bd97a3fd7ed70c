"""The trace context in the records of a run: whose spans are the parents, and whose the next owner continues. Pure.

An owner whose program has tracing set up stores the context of its span in the first record by which it begins something:
a `cycle.started`, a `model.started` or a `tool.started` then has the field `trace`. Without tracing none has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from playhead.runtime.core.records import CycleStarted, Entry, ModelStarted, Record, RunSubmitted, ToolStarted

__all__ = ["callers_trace", "former_trace", "may_hold_trace", "with_trace"]

_HOLDERS = CycleStarted | ModelStarted | ToolStarted

R = TypeVar("R", bound=Record)


def may_hold_trace(record: object) -> bool:
    """Whether an owner stores the context of its span in records of this type."""
    return isinstance(record, _HOLDERS)


def with_trace(record: R, trace: Mapping[str, str]) -> R:
    """The record with the context of its owner's span; one of another type is unchanged."""
    if not isinstance(record, _HOLDERS):
        return record
    return cast("R", record.model_copy(update={"trace": dict(trace)}))


def callers_trace(first: Record) -> dict[str, str]:
    """The context of the span from which the run with this record 1 was submitted; empty without one."""
    return dict(first.trace) if isinstance(first, RunSubmitted) else {}


def former_trace(entries: Sequence[Entry]) -> dict[str, str]:
    """The context of the span of the last owner among `entries` that stored one; empty without one."""
    for entry in reversed(entries):
        held: Any = getattr(entry.record, "trace", None) if isinstance(entry.record, _HOLDERS) else None
        if isinstance(held, dict) and held:
            pairs = cast("dict[object, object]", held).items()
            return {str(name): value for name, value in pairs if isinstance(value, str)}
    return {}
