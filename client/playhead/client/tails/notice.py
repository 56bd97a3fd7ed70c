"""What a tail tells people: a notice for what it waits for, and the error of a run that is not there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["Notice", "NoticeKind", "no_worker", "queued", "rewound", "run_not_found"]

NoticeKind = Literal["no_worker", "queued", "paused", "unreachable", "rewound"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tail waits for, told while it waits.

    Attributes:
        kind: `no_worker` (no live worker serves the agent), `queued` (behind other runs, or its session's present
            one), `paused` (until its questions are answered), `unreachable` (Redis does not answer; the tail goes on
            when it does) or `rewound` (Redis lost the end of the log; the run's owner may send it again).
        message: For people.
        interrupts: Of `paused`: the questions that are open.
    """

    kind: NoticeKind
    run_id: str
    message: str
    interrupts: tuple[Interrupt, ...] = ()


def run_not_found(run_id: str) -> RunNotFoundError:
    """The error for a run that is not (or no longer) there."""
    return RunNotFoundError(
        f"no run {run_id!r}: never submitted under this prefix, or removed when its retention ended. "
        "`playhead runs` lists those that exist."
    )


def no_worker(agent: str, workers: Sequence[WorkerInfo]) -> str:
    """That none of the live workers serves the agent, and what they serve."""
    served = sorted({name for worker in workers for name in worker.agents})
    return f"no live worker serves agent {agent!r}" + (f" (served now: {', '.join(served)})" if served else "")


def queued(run_id: str, holder: str | None, info: RunInfo | None) -> str:
    """What a run in line is behind: the run `holder` that has its session, or else other runs."""
    if holder is None or holder == run_id:
        return f"run {run_id} is in line: all workers are busy."
    does = f"is {info.state}" if info is not None else "has just ended"
    asks = f" and waits for an answer: playhead show {holder}" if does == "is paused" else ""
    return f"run {run_id} is in line: its session is with run {holder}, which {does}{asks}."


def rewound(run_id: str, *, head: int, seen: int) -> str:
    """That Redis lost what was seen behind `head`."""
    return (
        f"run {run_id}: Redis lost the log behind record {head}, and {seen} was seen; waiting for its "
        "owner to send the rest again."
    )
