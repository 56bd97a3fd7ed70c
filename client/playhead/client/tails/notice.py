"""Notices of what a tail waits for, and the error for a run that does not exist. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["Notice", "NoticeKind", "no_worker", "queued", "refused", "rewound", "run_not_found"]

NoticeKind = Literal["no_worker", "queued", "paused", "unreachable", "refused", "rewound"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tail waits for, sent while it waits.

    Attributes:
        kind: `no_worker` (no live worker serves the agent), `queued` (after other runs, or after the current run of its
            session), `paused` (until its questions have responses), `unreachable` (Redis does not reply; the tail
            continues when it does), `refused` (Redis accepts no writes, so no run goes on until it does) or `rewound` (Redis lost the end of the log; the run's owner may send it again).
        message: For a user.
        interrupts: For `paused`: the open questions.
    """

    kind: NoticeKind
    run_id: str
    message: str
    interrupts: tuple[Interrupt, ...] = ()


def run_not_found(run_id: str) -> RunNotFoundError:
    """The error for a run that does not exist, or not any more."""
    return RunNotFoundError(
        f"no run {run_id!r}: never submitted under this prefix, or removed when its retention ended. "
        "`playhead runs` lists those that exist."
    )


def no_worker(agent: str, workers: Sequence[WorkerInfo]) -> str:
    """Says that none of the live workers serves the agent, and what they serve."""
    served = sorted({name for worker in workers for name in worker.agents})
    return f"no live worker serves agent {agent!r}" + (f" (served now: {', '.join(served)})" if served else "")


def queued(run_id: str, holder: str | None, info: RunInfo | None) -> str:
    """Says what a queued run waits for: the run `holder` that has its session, or else other runs."""
    if holder is None or holder == run_id:
        return f"run {run_id} is queued: all workers are busy."
    does = f"is {info.state}" if info is not None else "has just ended"
    asks = f" and waits for a response: playhead show {holder}" if does == "is paused" else ""
    return f"run {run_id} is queued: its session is with run {holder}, which {does}{asks}."


def refused(run_id: str, state: str, reason: str) -> str:
    """Says that the run cannot go on because the server accepts no writes."""
    owner = "its owner keeps what it has and goes on" if state == "running" else "a worker can take it"
    return f"run {run_id} is {state}: {reason}; {owner} when writes are accepted again."


def rewound(run_id: str, *, head: int, seen: int) -> str:
    """Says that Redis lost the records after `head` that were seen."""
    return (
        f"run {run_id}: Redis lost the log after record {head}, and {seen} was seen; waiting for its "
        "owner to send the rest again."
    )
