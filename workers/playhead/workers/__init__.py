"""Runs agents in worker processes: claim, lease, group commit, takeover, drain.

from playhead.workers import Worker
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playhead.runtime.targets import load_agents
    from playhead.workers.options import WorkerOptions, WorkerStatistics
    from playhead.workers.worker import Worker

__all__ = ["Worker", "WorkerOptions", "WorkerStatistics", "load_agents"]

_HOMES: Final = {
    "WorkerOptions": "playhead.workers.options",
    "WorkerStatistics": "playhead.workers.options",
    "load_agents": "playhead.runtime.targets",
    "Worker": "playhead.workers.worker",
}


def __getattr__(name: str) -> Any:
    """Import at first use, so that the command line can read a command without loading a worker."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
