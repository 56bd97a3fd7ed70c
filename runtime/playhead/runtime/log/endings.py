"""The records with which a log ends a run that has no owner to write its end."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.codec import encode_record, pack
from playhead.runtime.core.records import RunCancelled, RunFailed, now_ms
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.steps import CANCELLED_TEXT
from playhead.runtime.log.values import NewRun

__all__ = ["ParentEnded", "cancel_ending", "deadline_failure", "parent_ended"]


class ParentEnded(NamedTuple):
    """How a child ends when its parent does: the cancel, encoded, and the records that end the child without an owner."""

    signal: bytes
    records: list[bytes]


def parent_ended(run: NewRun) -> ParentEnded | None:
    """How the run ends when its parent does; None for a run that is not a child."""
    if run.parent is None:
        return None
    signal = Signal(f"the end of {run.parent}", "cancel")
    return ParentEnded(pack(asdict(signal)), cancel_ending(signal))


def deadline_failure() -> bytes:
    """The encoded `run.failed` record that ends a run past its deadline."""
    text = "the deadline that was set when the run was submitted has passed"
    return encode_record(RunFailed(at=now_ms(), error_type="DeadlineExceeded", message=text))


def cancel_ending(signal: Signal) -> list[bytes]:
    """The encoded records that end a run without an owner, if `signal` is a cancel; else an empty list."""
    if signal.kind != "cancel":
        return []
    at = now_ms()
    message = {"role": "assistant", "content": [{"text": Cancel.read(signal.body).message or CANCELLED_TEXT}]}
    result = {"stop_reason": "cancelled", "message": message, "metrics": {}, "state": {}}
    received = signal.received(at=at)
    return [encode_record(received), encode_record(RunCancelled(at=at, result=result))]
