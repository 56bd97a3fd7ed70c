"""Runs agents in worker processes: claim, lease, group commit, takeover, drain.

from playhead.workers import Worker
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.runtime.targets import load_agents
    from playhead.workers.options import WorkerOptions, WorkerStatistics
    from playhead.workers.worker import Worker

__all__ = ["Worker", "WorkerOptions", "WorkerStatistics", "load_agents"]

# At first use, so that the command line can read a command without loading a worker.
import_at_first_use(
    __name__,
    {
        "WorkerOptions": "playhead.workers.options",
        "WorkerStatistics": "playhead.workers.options",
        "load_agents": "playhead.runtime.targets",
        "Worker": "playhead.workers.worker",
    },
)
