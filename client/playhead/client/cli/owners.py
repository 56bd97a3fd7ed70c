"""How many owners a run has had, as a user sees it."""

from __future__ import annotations

from playhead.runtime.core.definition import place_of_fork
from playhead.runtime.core.records import Record
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import RunInfo

__all__ = ["owners_told"]


async def owners_told(log: LogReader, info: RunInfo, first: Record | None) -> list[str]:
    """How many owners the run has had; then, if there is something to say, how they ended, and how many its parent had.

    Args:
        log: The log of the run.
        info: The run.
        first: Its record 1; None if the log does not have it.
    """
    counts = [(info.crashes, "died"), (info.handovers, "handed it over"), (info.errors, "failed")]
    ended = [f"{number} {what}" for number, what in counts if number]
    if first is not None and (inherited := place_of_fork(first)):
        last = await log.read(info.run_id, after=inherited - 1, limit=1)
        if last and last[0].epoch:
            ended.append(f"{last[0].epoch} of its parent")
    return [str(info.epoch), *([", ".join(ended)] if ended else [])]
