"""The checks of a fleet: its workers, and the runs that do not get on. Pure: they judge what was gathered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from playhead.client.cli.checks.check import Check, age, named
from playhead.client.cli.render import counted
from playhead.runtime.core.records import Entry
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["Fleet", "fleet_checks", "largest_of", "slowest_of"]

_TAKEOVER_MS: Final = 5000
"""A lease that ended longer ago than this was found by no worker: each looks twice a second."""

_WAITS_MS: Final = 30_000
"""A queued run that waits longer is told of, if all places are taken."""

_SHOWN: Final = 3
"""Of the slowest and the largest runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is known of the workers and the runs of all shards.

    Attributes:
        now: The time by the server's clock, in unix milliseconds.
        version: Of this client.
        workers: The live ones.
        open: The runs that have not ended, among those looked at, newest first.
        looked_at: How many runs were looked at, newest first.
        all_seen: Whether these were all.
        expired: Runs whose lease has ended: milliseconds since then.
        holders: The runs that hold the sessions of queued runs, by the session.
        without_lease: Running runs that have no lease.
        last: The last records of the slowest runs.
        largest: The runs with the most records, among those looked at.
        bytes: How much memory the largest take, as far as that is known.
    """

    now: int
    version: str
    workers: Sequence[WorkerInfo]
    open: Sequence[RunInfo]
    looked_at: int
    all_seen: bool
    expired: Mapping[str, int] = field(default_factory=dict[str, int])
    holders: Mapping[str, RunInfo] = field(default_factory=dict[str, RunInfo])
    without_lease: Sequence[str] = ()
    last: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    largest: Sequence[RunInfo] = ()
    bytes: Mapping[str, int] = field(default_factory=dict[str, int])


def slowest_of(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The running runs that were submitted first."""
    return sorted((run for run in runs if run.state == "running"), key=lambda run: run.created)[:_SHOWN]


def largest_of(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs with the most records."""
    return sorted(runs, key=lambda run: run.head, reverse=True)[:_SHOWN]


def fleet_checks(fleet: Fleet) -> list[Check]:
    """All checks of a fleet, in the order in which they are told."""
    return [
        *_workers(fleet),
        *_versions(fleet),
        _runs(fleet),
        *_unserved(fleet),
        *_crowded(fleet),
        *_ownerless(fleet),
        *_sessions(fleet),
        *_paused(fleet),
        *_slowest(fleet),
        *_largest(fleet),
    ]


def _served(fleet: Fleet) -> set[str]:
    return {name for worker in fleet.workers for name in worker.agents}


def _workers(fleet: Fleet) -> Iterator[Check]:
    if not fleet.workers:
        yield Check(
            check="workers",
            state="warning",
            what="no live worker: nothing that is submitted runs",
            do="Start one: playhead worker TARGET.",
        )
        return
    held = sum(worker.running for worker in fleet.workers)
    places = sum(worker.concurrency for worker in fleet.workers)
    what = f"{counted(len(fleet.workers), 'live worker')}, {held:,} of {places:,} places taken; agents served: "
    yield Check(check="workers", state="ok", what=what + ", ".join(sorted(_served(fleet))))


def _versions(fleet: Fleet) -> Iterator[Check]:
    by_version: dict[str, list[str]] = defaultdict(list)
    for worker in fleet.workers:
        by_version[str(worker.extra.get("version", "0.1.0 or older"))].append(worker.worker)
    if not set(by_version) - {fleet.version}:
        same = ", and so is each worker" if fleet.workers else ""
        yield Check(check="versions", state="ok", what=f"this client is playhead {fleet.version}{same}")
        return
    told = "; ".join(f"{version}: {named(workers)}" for version, workers in sorted(by_version.items()))
    yield Check(
        check="versions",
        state="warning",
        what=f"this client is playhead {fleet.version}, and workers are of other versions ({told})",
        do="Finish the upgrade: the versions are released together, and a log may need the newest to be read.",
    )


def _runs(fleet: Fleet) -> Check:
    states: dict[str, int] = defaultdict(int)
    for run in fleet.open:
        states[run.state] += 1
    told = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items())) or "none of them open"
    if not fleet.looked_at:
        return Check(check="runs", state="ok", what="there are no runs")
    of_all = "" if fleet.all_seen else " (the newest; --all looks at all)"
    return Check(check="runs", state="ok", what=f"looked at {counted(fleet.looked_at, 'run')}{of_all}: {told}")


def _unserved(fleet: Fleet) -> Iterator[Check]:
    waiting: dict[str, list[RunInfo]] = defaultdict(list)
    for run in fleet.open:
        if run.state == "queued" and run.agent not in _served(fleet):
            waiting[run.agent].append(run)
    for agent, runs in sorted(waiting.items()):
        ids = _ids(runs)
        yield Check(
            check="unserved",
            state="failed",
            what=f"{_wait(runs)} for agent {agent!r}, which no live worker serves, the oldest for {_oldest(fleet, runs)}: "
            f"{named(ids)}",
            do=f"Start a worker whose TARGET has the agent {agent!r} (playhead worker TARGET), or end each of them: "
            "playhead cancel RUN.",
            runs=ids,
        )


def _crowded(fleet: Fleet) -> Iterator[Check]:
    """Runs that wait because every worker that serves their agent is full."""
    waits_for = _waiting_for_session(fleet)
    waiting: dict[str, list[RunInfo]] = defaultdict(list)
    for run in fleet.open:
        late = run.state == "queued" and fleet.now - run.updated >= _WAITS_MS
        if late and run.run_id not in waits_for and run.agent in _served(fleet):
            waiting[run.agent].append(run)
    for agent, runs in sorted(waiting.items()):
        serving = [worker for worker in fleet.workers if agent in worker.agents]
        full = all(worker.running >= worker.concurrency for worker in serving)
        ids = _ids(runs)
        why = "whose workers are all full" if full else "though a worker that serves it has a free place"
        yield Check(
            check="queue",
            state="warning",
            what=f"{_wait(runs)} for agent {agent!r}, {why}, the oldest for {_oldest(fleet, runs)}: {named(ids)}",
            do="Start more workers, or raise --concurrency."
            if full
            else "Look at the log of that worker, and at the runs: playhead doctor RUN.",
            runs=ids,
        )


def _waiting_for_session(fleet: Fleet) -> dict[str, RunInfo]:
    """Queued runs that wait for their session: run id → the run that holds it."""
    queued = {run.run_id: fleet.holders.get(run.session or "") for run in fleet.open if run.state == "queued"}
    return {run_id: holder for run_id, holder in queued.items() if holder is not None and holder.run_id != run_id}


def _ownerless(fleet: Fleet) -> Iterator[Check]:
    left = {run_id: since for run_id, since in fleet.expired.items() if since >= _TAKEOVER_MS}
    if left:
        one = len(left) == 1
        since = age(max(left.values()))
        yield Check(
            check="leases",
            state="failed",
            what=f"{counted(len(left), 'run')} {'has' if one else 'have'} no worker: {'its lease' if one else 'the first lease'} "
            f"ended {since} ago, and no worker has taken {'it' if one else 'them'} over: {named(list(left))}",
            do="Start a worker that serves the agents, which takes them over."
            if not fleet.workers
            else "Live workers should have done so: look at their log, and whether Redis refuses writes.",
            runs=list(left),
        )
    if fleet.without_lease:
        ids = list(fleet.without_lease)
        yield Check(
            check="leases",
            state="failed",
            what=f"{counted(len(ids), 'run')} {'is' if len(ids) == 1 else 'are'} running without a lease, because another program removed it: {named(ids)}",
            do="Wait for each, which gives it one: playhead tail RUN.",
            runs=ids,
        )


def _sessions(fleet: Fleet) -> Iterator[Check]:
    """Sessions that a paused run holds while others wait for them."""
    by_id = {run.run_id: run for run in fleet.open}
    waiting: dict[str, list[RunInfo]] = defaultdict(list)
    for run_id, holder in _waiting_for_session(fleet).items():
        if holder.state == "paused" and holder.session is not None:
            waiting[holder.session].append(by_id[run_id])
    for session, runs in waiting.items():
        holder, ids = fleet.holders[session], _ids(runs)
        yield Check(
            check="sessions",
            state="warning",
            what=f"session {session!r} is held by run {holder.run_id}, paused for {age(fleet.now - holder.updated)}: "
            f"{_wait(runs)} for it: {named(ids)}",
            do=f"Answer it: playhead respond {holder.run_id} ID=RESPONSE (playhead show {holder.run_id} asks the questions); "
            f"or end it: playhead cancel {holder.run_id}.",
            runs=[holder.run_id, *ids],
        )


def _paused(fleet: Fleet) -> Iterator[Check]:
    runs = sorted((run for run in fleet.open if run.state == "paused"), key=lambda run: run.updated)
    if runs:
        what = f"{_wait(runs)} for a response, the oldest for {age(fleet.now - runs[0].updated)}: {named(_ids(runs))}"
        yield Check(check="paused", state="ok", what=what, runs=_ids(runs))


def _slowest(fleet: Fleet) -> Iterator[Check]:
    for run in slowest_of(fleet.open):
        told = f"run {run.run_id} of {run.agent}, submitted {age(fleet.now - run.created)} ago"
        if (last := fleet.last.get(run.run_id)) is not None:
            told += f": its last record is {last.seq} {last.record.type}, {age(fleet.now - last.record.at)} ago"
        yield Check(check="slowest", state="ok", what=told, runs=[run.run_id])


def _largest(fleet: Fleet) -> Iterator[Check]:
    for run in fleet.largest:
        size = fleet.bytes.get(run.run_id)
        memory = "" if size is None else f", {size / 1000:,.1f} kB"
        told = f"run {run.run_id} of {run.agent}: {counted(run.head, 'record')}{memory}"
        yield Check(check="largest", state="ok", what=told, runs=[run.run_id])


def _ids(runs: Sequence[RunInfo]) -> list[str]:
    """Their ids, the oldest first."""
    return [run.run_id for run in sorted(runs, key=lambda run: run.created)]


def _oldest(fleet: Fleet, runs: Sequence[RunInfo]) -> str:
    return age(fleet.now - min(run.updated for run in runs))


def _wait(runs: Sequence[RunInfo]) -> str:
    return f"{counted(len(runs), 'run')} {'waits' if len(runs) == 1 else 'wait'}"
