"""Turns the model calls of a recorded run into scripts that can be played again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.faults import recorded_error
from playhead.runtime.core.records import (
    ASKED_AGAIN,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    RunFailed,
    SignalReceived,
)

__all__ = ["HasEntries", "ScriptedCall", "recorded_calls"]


@dataclass(frozen=True)
class ScriptedCall:
    """One scripted message: its chunks, and then an optional error to raise."""

    chunks: Sequence[Chunk] = ()
    error: Exception | None = None


@runtime_checkable
class HasEntries(Protocol):
    """A run that has its entries in memory."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The records from record 1 on, with their positions."""
        ...


def recorded_calls(entries: Iterable[Entry]) -> list[ScriptedCall]:
    """The model's output in each call of a run, without calls that were repeated because their owner was gone; see `from_run`."""
    calls: list[ScriptedCall] = []
    open_call: list[Chunk] | None = None
    for entry in entries:
        match entry.record:
            case ModelRetried(reason=reason) if reason == ASKED_AGAIN and open_call is not None:
                calls.append(ScriptedCall(open_call))
                open_call = None
            case ModelStarted(continues=continues):
                open_call = open_call if continues and open_call is not None else []
            case ModelChunk(chunk=chunk) if open_call is not None:
                open_call += [] if open_call and _opens(chunk, open_call) else [chunk]
            case ModelFailed(error_type=name, message=text):
                calls.append(ScriptedCall(open_call or [], recorded_error(name, text, transient=True)))
                open_call = None
            case RunFailed(error_type=name, message=text, force_stop=True) if open_call is not None:
                calls.append(ScriptedCall(open_call, recorded_error(name, text, transient=False)))
                open_call = None
            case MessageAdded(origin="model") | SignalReceived() if open_call is not None:  # a cancel cut it off
                calls.append(ScriptedCall(open_call))
                open_call = None
            case _:
                pass
    return calls


def _opens(chunk: Chunk, before: Sequence[Chunk]) -> bool:
    """Whether a chunk begins again what the call that is continued had begun: its message, and its block of text."""
    return chunk in before[:2] and ("messageStart" in chunk or "contentBlockStart" in chunk)
