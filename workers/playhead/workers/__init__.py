"""Who runs agents: claim, lease, group commit, takeover, drain.

from playhead.workers import Worker
"""

from __future__ import annotations

from playhead.runtime.targets import load_agents
from playhead.workers.options import WorkerOptions, WorkerStatistics
from playhead.workers.worker import Worker

__all__ = ["Worker", "WorkerOptions", "WorkerStatistics", "load_agents"]
