"""Checks recorded runs against today's code: whether the agent would now do what the log says happened."""

from __future__ import annotations

from playhead.runtime.replay.differences import Change, Difference
from playhead.runtime.replay.recording import EntriesRecording, LogRecording, Recording
from playhead.runtime.replay.verify import Verification, verify

__all__ = ["Change", "Difference", "EntriesRecording", "LogRecording", "Recording", "Verification", "verify"]
