"""The records with which a log ends a run that has no owner to write its end."""

from __future__ import annotations

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.records import RunCancelled, RunFailed, SignalReceived, now_ms
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.steps import CANCELLED_TEXT

__all__ = ["cancel_ending", "deadline_failure"]


def deadline_failure() -> bytes:
    """The encoded `run.failed` record that ends a run past its deadline."""
    text = "the deadline that was set when the run was submitted has passed"
    return encode_record(RunFailed(at=now_ms(), error_type="DeadlineExceeded", message=text))


def cancel_ending(signal: Signal) -> list[bytes]:
    """The encoded records that end a run without an owner, if `signal` is a cancel; else an empty list."""
    if signal.kind != "cancel":
        return []
    at = now_ms()
    message = {"role": "assistant", "content": [{"text": CANCELLED_TEXT}]}
    result = {"stop_reason": "cancelled", "message": message, "metrics": {}, "state": {}}
    received = SignalReceived(at=at, signal_id=signal.signal_id, kind=signal.kind)
    return [encode_record(received), encode_record(RunCancelled(at=at, result=result))]
