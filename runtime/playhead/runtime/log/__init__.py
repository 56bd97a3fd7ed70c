"""The log: one interface, a memory backend and a Redis backend."""

from __future__ import annotations

from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log, LogOwner, LogReader, LogSubmitter
from playhead.runtime.log.values import Answer, Batch, Claim, Code, Finish, NewRun, Renewal, RunInfo, WorkerInfo

__all__ = [
    "Answer",
    "Batch",
    "Claim",
    "Code",
    "Finish",
    "Log",
    "LogOwner",
    "LogReader",
    "LogSubmitter",
    "NewRun",
    "Renewal",
    "RunInfo",
    "Signal",
    "WorkerInfo",
    "new_run_id",
    "new_token",
]
