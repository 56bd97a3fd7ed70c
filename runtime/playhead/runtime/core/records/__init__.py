"""The record types of a run's log: named in the past tense, versioned, plain data.

A record is one fact about one run. Its number (`seq`) and the epoch of its writer are not part of it: they are the id
of the stream entry, and an `Entry` holds them beside the record. Unknown types and unknown fields, written by a newer
version, are kept and skipped; they are not an error. Only a record's own fields are checked, not nested Converse data.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from playhead.runtime.core.records.base import CheckedRecord, Record, UnknownRecord, now_ms
from playhead.runtime.core.records.hosted import EventEmitted, StepFinished
from playhead.runtime.core.records.model import (
    ASKED_AGAIN,
    CALL_FAILED,
    FAILED_ASKED_AGAIN,
    SUMMARY_FAILED,
    ContextReduced,
    CycleStarted,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    StructuredOutputProduced,
)
from playhead.runtime.core.records.run import (
    ENDED_STATES,
    TERMINAL_TYPE_OF_STATE,
    TERMINAL_TYPES,
    AgentMade,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStateName,
    RunSubmitted,
    SignalReceived,
    StateChanged,
)
from playhead.runtime.core.records.tools import (
    ChildRecorded,
    ChildStarted,
    HookDecided,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)

__all__ = [
    "ASKED_AGAIN",
    "CALL_FAILED",
    "ENDED_STATES",
    "RECORD_TYPES",
    "SUMMARY_FAILED",
    "TERMINAL_TYPES",
    "TERMINAL_TYPE_OF_STATE",
    "AgentMade",
    "CheckedRecord",
    "ChildRecorded",
    "ChildStarted",
    "ContextReduced",
    "CycleStarted",
    "EventEmitted",
    "FAILED_ASKED_AGAIN",
    "Entry",
    "HookDecided",
    "MessageAdded",
    "ModelChunk",
    "ModelFailed",
    "ModelRetried",
    "ModelStarted",
    "Record",
    "RunCancelled",
    "RunClaimed",
    "RunCompleted",
    "RunFailed",
    "RunHandedOver",
    "RunPaused",
    "RunResumed",
    "RunStateName",
    "RunSubmitted",
    "SignalReceived",
    "StateChanged",
    "StepFinished",
    "StructuredOutputProduced",
    "ToolDecided",
    "ToolFinished",
    "ToolInterrupted",
    "ToolProgressed",
    "ToolStarted",
    "UnknownRecord",
    "now_ms",
]

RECORD_TYPES: Final[dict[str, type[CheckedRecord] | type[ModelChunk]]] = {
    ModelChunk.type: ModelChunk,
    **{
        str(cls.model_fields["type"].default): cls
        for cls in (
            RunSubmitted,
            RunClaimed,
            AgentMade,
            RunHandedOver,
            CycleStarted,
            ModelStarted,
            ModelRetried,
            ModelFailed,
            ContextReduced,
            MessageAdded,
            ToolDecided,
            ToolStarted,
            ToolProgressed,
            ToolFinished,
            ToolInterrupted,
            ChildStarted,
            ChildRecorded,
            StructuredOutputProduced,
            HookDecided,
            EventEmitted,
            StepFinished,
            RunPaused,
            RunResumed,
            SignalReceived,
            StateChanged,
            RunCompleted,
            RunFailed,
            RunCancelled,
        )
    },
}


class Entry(NamedTuple):
    """A record with its position: number `seq` of its run's log, written by the owner of `epoch`."""

    seq: int
    epoch: int
    record: Record

    @property
    def cursor(self) -> str:
        """The position of this record, to continue after it: its number and its writer's epoch, such as `41-2`."""
        return f"{self.seq}-{self.epoch}"
