"""What a worker tells OpenTelemetry of itself, if an SDK is set up before it is made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from playhead.runtime.telemetry.measurements import HELD, Measurement
from playhead.runtime.telemetry.presence import set_up
from playhead.workers.options import WorkerStatistics

__all__ = ["append_timer", "observed"]


@contextmanager
def observed(worker: str, statistics: Callable[[], WorkerStatistics]) -> Generator[None]:
    """Within the block, a worker's counters are read whenever measurements are collected, in any thread."""
    api = set_up()
    if api is None:
        yield
        return

    def read() -> Mapping[str, float]:
        now = statistics()
        return {
            HELD: now.running,
            "playhead.worker.claims": now.claimed,
            "playhead.worker.appends": now.appends,
            "playhead.worker.records": now.records,
            "playhead.worker.renewals": now.renewals,
            "playhead.worker.reaped": now.reaped,
        }

    with api.observing(read, {"playhead.worker": worker}):
        yield


def append_timer(worker: str) -> Callable[[float], None] | None:
    """What is to be called with the seconds of each append; None if they are not measured."""
    api = set_up()
    if api is None:
        return None
    about = {"playhead.worker": worker}

    def timed(seconds: float) -> None:
        api.record(Measurement("playhead.worker.append.duration", seconds, about))

    return timed
