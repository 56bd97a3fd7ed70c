"""Recorded runs against the code of today: what a run's log says happened, and whether the agent would do the same now."""

from __future__ import annotations

from playhead.runtime.replay.differences import Change, Difference
from playhead.runtime.replay.recording import EntriesRecording, LogRecording, Recording
from playhead.runtime.replay.verify import Verification, verify

__all__ = ["Change", "Difference", "EntriesRecording", "LogRecording", "Recording", "Verification", "verify"]
