"""Counts what happened to many runs, from their logs, and makes the figures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bench.figures import Figure, percentile
from chaos.check_model import model_calls
from chaos.check_tools import tool_calls
from chaos.check_views import made_again
from chaos.evidence import Evidence
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import Entry, ModelFailed, RunClaimed, RunFailed, RunHandedOver
from playhead.workers.standstill import Standstill

__all__ = ["Injuries", "Latency", "Takeover", "Tally", "figures", "provider_figures", "takeovers"]


_BESIDE: Final = "other workers were injured at the same time"
_SUSPECT: Final = (
    "each had lost another owner without getting on since, so it may wait for a worker that holds no other run"
)
_UNTOLD: Final = "they had left while records that they had seen were lost and their numbers were given out again"


class Takeover(NamedTuple):
    """A change of owner: the unix milliseconds of the former owner's last record and of the next owner's first.

    `next_at` is the time of the first record after the claim, None if there was none. `losses` counts the owners that
    did not hand it over, one after the other, while it did not get on; this former owner is the last of them.
    """

    run: str
    former: str
    handed_over: bool
    last_at: int
    claimed_at: int
    next_at: int | None
    losses: int


class Latency(NamedTuple):
    """For one run of a killed worker: milliseconds from the kill to the claim, and to the first record after it.

    `served` is false if the server was unavailable for some time in between. `losses` is that of the takeover.
    """

    run: str
    claim: int
    after: int | None
    served: bool
    losses: int


def takeovers(run: str, entries: Sequence[Entry]) -> list[Takeover]:
    """Every change of owner in a log, in order."""
    found: list[Takeover] = []
    owner, released, losses = "", False, 0
    standstill = Standstill(fold(()), ())
    for place, entry in enumerate(entries):
        if isinstance(entry.record, RunHandedOver):
            released = True
        elif isinstance(entry.record, RunClaimed):
            if owner:
                losses += not released
                after = entries[place + 1].record.at if place + 1 < len(entries) else None
                last = entries[place - 1].record.at
                found.append(Takeover(run, owner, released, last, entry.record.at, after, losses))
                standstill = Standstill(fold(entries[:place]), entries[:place])
            owner, released = entry.record.worker, False
        elif standstill.ends_with(entry.record):
            losses = 0
    return found


@dataclass(frozen=True, slots=True)
class Injuries:
    """The injuries, as far as the figures need them. Times are unix milliseconds.

    Attributes:
        kinds: How many of each.
        kills: When each process id was killed.
        outages: The times from and to which the server was unavailable.
    """

    kinds: Mapping[str, int]
    kills: Mapping[int, Sequence[int]]
    outages: Sequence[tuple[int, int]]


@dataclass(slots=True)
class Tally:
    """Counters over all runs."""

    runs: Counter[str] = field(default_factory=Counter[str])
    """By scenario."""
    ends: Counter[str] = field(default_factory=Counter[str])
    """By terminal record."""
    errors: Counter[str] = field(default_factory=Counter[str])
    """Failed runs, by the type of their error."""
    failures: int = 0
    """Model calls that failed and were repeated."""
    records: int = 0
    views: int = 0
    made_again: int = 0
    """Views that saw records which a failover lost, and had left while their numbers were given out again."""
    crashes: int = 0
    hand_overs: int = 0
    bodies: int = 0
    tools_again: int = 0
    """Starts of unfinished calls after a takeover."""
    calls_again: int = 0
    calls_continued: int = 0
    chunks: int = 0
    chunks_again: int = 0
    takeovers: list[Takeover] = field(default_factory=list[Takeover])

    def add(self, evidence: Evidence) -> None:
        """Count one run."""
        entries = evidence.entries
        self.runs[evidence.plan.scenario] += 1
        self.ends[entries[-1].record.type if entries else "none"] += 1
        self.errors.update(entry.record.error_type for entry in entries if isinstance(entry.record, RunFailed))
        self.failures += sum(isinstance(entry.record, ModelFailed) for entry in entries)
        self.records += len(entries)
        self.views += len(evidence.views)
        self.made_again += sum(bool(made_again(evidence, view)) for view in evidence.views)
        changes = takeovers(evidence.plan.run, entries)
        self.hand_overs += sum(change.handed_over for change in changes)
        self.crashes += sum(not change.handed_over for change in changes)
        self.takeovers += [change for change in changes if not change.handed_over]
        self.bodies += len(evidence.begun)
        for call in tool_calls(entries).values():
            answered = min(len(call.interruptions), len(call.starts) - 1)  # it runs again because a human was asked
            self.tools_again += max(0, len(call.starts) - 1 - answered)
        calls = model_calls(entries)
        self.calls_continued += sum(call.continued for call in calls)
        self.chunks += sum(len(call.chunks) for call in calls)
        retracted = [call for call in calls if call.retracted is not None]
        self.calls_again += len(retracted)
        self.chunks_again += sum(len(call.chunks) for call in retracted)

    def after_kills(self, what: Injuries) -> list[Latency]:
        """How long the runs of killed workers had no owner."""
        found: list[Latency] = []
        for change in self.takeovers:
            pid = int(change.former.split("-")[-2])
            moments = [at for at in what.kills.get(pid, ()) if change.last_at <= at + 1 and at <= change.claimed_at]
            if moments:
                at = moments[-1]
                after = None if change.next_at is None else change.next_at - at
                served = not any(start <= change.claimed_at and at <= end for start, end in what.outages)
                found.append(Latency(change.run, change.claimed_at - at, after, served, change.losses))
        return found


def figures(
    tally: Tally,
    *,
    injuries: Injuries,
    violations: Mapping[str, int],
    refused: int,
    joins: int,
    rewinds: int,
    lease_s: float,
) -> list[Figure]:
    """The table's lines."""

    def count(group: str, name: str, value: float, note: str = "") -> Figure:
        return Figure(group=group, name=name, value=value, unit="", note=note)

    lines = [count("injuries", kind, number) for kind, number in sorted(injuries.kinds.items())]
    lines.append(count("injuries", "all", sum(injuries.kinds.values())))
    lines += [count("load", f"runs, {kind}", number) for kind, number in sorted(tally.runs.items())]
    lines += [count("load", "runs, all", sum(tally.runs.values()))]
    lines += [count("load", f"ended with {kind}", number) for kind, number in sorted(tally.ends.items())]
    lines += [count("load", f"failed with {kind}", number) for kind, number in sorted(tally.errors.items())]
    lines.append(count("load", "records", tally.records))
    lines.append(count("load", "views", tally.views, "each of a whole run, as records or events"))
    lines.append(count("load", "joinings of views", joins, "viewers leave at random and rejoin at their cursor"))
    lines.append(
        count("load", "rewinds of views", rewinds, "they saw records that a failover lost, and got a RewindError")
    )
    lines.append(count("load", "views that could not notice a loss", tally.made_again, _UNTOLD))
    lines.append(count("load", "tool bodies run", tally.bodies))
    return [*lines, *_costs(tally, refused), *_promises(violations), *_latencies(tally.after_kills(injuries), lease_s)]


def provider_figures(served: Mapping[str, int], *, violations: Mapping[str, int], sessions: int) -> list[Figure]:
    """More lines, for the fake provider: what it did, and the promises that it tests."""
    shown = {"flaws in its requests": "request", "answers lost or changed": "answer", "sessions spoiled": "session"}
    shown |= {"tools run on other input": "input", "untrue ends": "end"}
    return [
        Figure(group="provider", name="sessions", value=sessions, unit=""),
        Figure(group="provider", name="requests", value=sum(served.values()), unit=""),
        *(Figure(group="provider", name=kind, value=times, unit="") for kind, times in sorted(served.items())),
        *(
            Figure(group="provider", name=name, value=violations.get(kind, 0), unit="", target=("value", "<=", 0))
            for name, kind in shown.items()
        ),
    ]


def _costs(tally: Tally, refused: int) -> list[Figure]:
    def count(name: str, value: int, note: str = "") -> Figure:
        return Figure(group="costs", name=name, value=value, unit="", note=note)

    return [
        count("crashes", tally.crashes, "leases that ran out during a run"),
        count("hand-overs", tally.hand_overs),
        count("fenced writes refused", refused, "of owners that had lost their run"),
        count("unfinished tools run again", tally.tools_again, "started, and not finished when their owner was lost"),
        count("model calls made again", tally.calls_again, "they were cut off and retracted"),
        count("model calls made again because they failed", tally.failures, "of these, as their provider failed"),
        count(
            "model calls continued", tally.calls_continued, "they were cut off and continued, so nothing was paid twice"
        ),
        count("chunks paid twice", tally.chunks_again, f"of {tally.chunks:,}"),
    ]


def _promises(violations: Mapping[str, int]) -> list[Figure]:
    shown = {"gaps": "gap", "duplicates": "duplicate", "finished tools run again": "finished_rerun"}
    shown |= {"records and bodies of fenced owners": "fenced", "finished model calls paid again": "paid_again"}
    shown |= {"runs and viewers that did not end": "hung"}
    numbers = {name: violations.get(kind, 0) for name, kind in shown.items()}
    numbers["promises broken otherwise"] = sum(violations.values()) - sum(numbers.values())
    return [
        Figure(group="promises", name=name, value=number, unit="", target=("value", "<=", 0))
        for name, number in numbers.items()
    ]


def _latencies(measured: Sequence[Latency], lease_s: float) -> list[Figure]:
    group = "kill -9 of a worker"
    first = [one for one in measured if one.served and one.losses == 1]
    after = [one.after for one in first if one.after is not None]
    again = [one.claim for one in measured if one.served and one.losses > 1]
    away = [one.claim for one in measured if not one.served]
    return [
        *_percentiles(group, "next record", [one.claim for one in first], lease_s, bound_s=lease_s + 1),
        *_percentiles(group, "the one after it", after, lease_s),
        *_percentiles(f"{group}, the second in a row or more", "next record", again, lease_s, note=_SUSPECT),
        *_percentiles(f"{group}, server unavailable too", "next record", away, lease_s),
    ]


def _percentiles(
    group: str,
    name: str,
    values_ms: Sequence[int],
    lease_s: float,
    *,
    bound_s: float | None = None,
    note: str = _BESIDE,
) -> list[Figure]:
    if not values_ms:
        return []
    note = f"{len(values_ms)} runs of the worker; {note}"
    return [
        Figure(
            group=group,
            name=f"until {name}, {which}",
            value=percentile(values_ms, percent) / 1000,
            unit="s",
            yardstick=lease_s,
            yardstick_name="the lease" if which == "p50" else "",
            target=None if bound_s is None else ("value", "<=", bound_s),
            note=note if which == "p50" else "",
        )
        for which, percent in (("p50", 50), ("p99", 99), ("max", 100))
    ]
