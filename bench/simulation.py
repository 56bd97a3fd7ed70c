"""Many runs over N shards: the load of each shard, and how evenly hashing spreads it. Pure; `bench.scaling` runs it.

A discrete-event simulation of runs that stream for a while and wait for a while (for a tool, a person, or the next
token of a slow model), each at its own pace. A session's id is hashed to a shard, as in playhead. A shard is one Redis core:
its load in a second is the CPU for its events, for holding its runs, and for the workers' checks for queued runs. Work
that it cannot do in that second is added to its backlog, which delays later work. The unit costs are measured.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bench.figures import percentile

__all__ = ["Load", "ShardCosts", "Spread", "simulate", "table"]

_PACE_SHAPE: Final = 4.0
"""The shape of the gamma distribution of paces: half of the runs are within a third of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The simulated load.

    Attributes:
        runs: Runs at once, each with its own session.
        rate: Events a second of a streaming run, on average.
        speaking_s, waiting_s: How long runs stream and wait, on average; exponentially distributed.
        seconds: How many seconds are simulated.
        placements: How many times the simulation is repeated with other session ids.
        seed: The seed of all random numbers.
    """

    runs: int = 100_000
    rate: float = 20.0
    speaking_s: float = 5.0
    waiting_s: float = 15.0
    seconds: int = 30
    placements: int = 5
    seed: int = 7

    @property
    def speaking(self) -> float:
        """The fraction of the runs that stream."""
        return self.speaking_s / (self.speaking_s + self.waiting_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCosts:
    """The costs for a shard's core.

    Attributes:
        event_us: CPU for one event.
        held_us: CPU a second for a run that a worker owns, streaming or not.
        fixed_us: CPU a second for the workers, which all check each shard for queued runs.
    """

    event_us: float
    held_us: float
    fixed_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The result for one number of shards.

    Attributes:
        shards: The number of shards.
        runs: Runs of a shard, on average.
        events: Events a second of a shard, on average.
        cores: The cores that a shard needs, on average.
        busiest_cores: The same for the busiest shard of a second; the 99th percentile over the seconds.
        imbalance: The busiest shard's events divided by the average; the 99th percentile over the seconds.
        delay_s: The backlog of the slowest shard at the end.
    """

    shards: int
    runs: float
    events: float
    cores: float
    busiest_cores: float
    imbalance: float
    delay_s: float


class _Shards:
    """The shards of one placement: their current load, and their statistics."""

    def __init__(self, homes: Sequence[int], costs: ShardCosts, *, count: int) -> None:
        self._homes = homes
        self._costs = costs
        held = [0] * count
        for home in homes:
            held[home % count] += 1
        self._held_cores = [(costs.fixed_us + runs * costs.held_us) / 1e6 for runs in held]
        self.count = count
        self.events = [0.0] * count
        self.backlog_s = [0.0] * count
        self.imbalances: list[float] = []
        self.busiest: list[float] = []
        self.totals: list[float] = []

    def change(self, run: int, pace: float) -> None:
        """A run starts (or, with a negative pace, stops) streaming."""
        self.events[self._homes[run] % self.count] += pace

    def second(self) -> None:
        """Advance by one second."""
        cores = [
            events * self._costs.event_us / 1e6 + held
            for events, held in zip(self.events, self._held_cores, strict=True)
        ]
        self.backlog_s = [max(0.0, late + asked - 1) for late, asked in zip(self.backlog_s, cores, strict=True)]
        total = sum(self.events)
        self.totals.append(total)
        self.imbalances.append(max(self.events) * self.count / total if total else 1.0)
        self.busiest.append(max(cores))


def _carried(placement: int, load: Load, costs: ShardCosts, counts: Sequence[int]) -> list[_Shards]:
    """One placement, simulated for each number of shards."""
    rng = random.Random(f"{load.seed}-{placement}")
    homes = [zlib.crc32(f"session-{placement}-{run}".encode()) for run in range(load.runs)]
    all_shards = [_Shards(homes, costs, count=count) for count in counts]
    paces = [rng.gammavariate(_PACE_SHAPE, load.rate / _PACE_SHAPE) for _ in range(load.runs)]
    speaks = [rng.random() < load.speaking for _ in range(load.runs)]
    due: list[tuple[float, int]] = []
    for run in range(load.runs):
        due.append((rng.expovariate(1 / (load.speaking_s if speaks[run] else load.waiting_s)), run))
        if speaks[run]:
            for shards in all_shards:
                shards.change(run, paces[run])
    heapq.heapify(due)
    for second in range(1, load.seconds + 1):
        while due[0][0] <= second:
            at, run = due[0]
            speaks[run] = not speaks[run]
            for shards in all_shards:
                shards.change(run, paces[run] if speaks[run] else -paces[run])
            heapq.heapreplace(
                due, (at + rng.expovariate(1 / (load.speaking_s if speaks[run] else load.waiting_s)), run)
            )
        for shards in all_shards:
            shards.second()
    return all_shards


def simulate(load: Load, costs: ShardCosts, counts: Sequence[int] = (1, 2, 4, 8, 16)) -> list[Spread]:
    """The result for each number of shards, over all placements. The same seed gives the same results."""
    placements = [_carried(placement, load, costs, counts) for placement in range(load.placements)]
    return [_spread(load, costs, [placement[place] for placement in placements]) for place in range(len(counts))]


def _spread(load: Load, costs: ShardCosts, placements: Sequence[_Shards]) -> Spread:
    count = placements[0].count
    totals = [total for one in placements for total in one.totals]
    events = sum(totals) / len(totals) / count
    return Spread(
        shards=count,
        runs=load.runs / count,
        events=events,
        cores=(events * costs.event_us + load.runs / count * costs.held_us + costs.fixed_us) / 1e6,
        busiest_cores=percentile([busy for one in placements for busy in one.busiest], 99),
        imbalance=percentile([one for placement in placements for one in placement.imbalances], 99),
        delay_s=max(max(one.backlog_s) for one in placements),
    )


def table(spreads: Sequence[Spread], *, seconds: int) -> str:
    """The shards as a Markdown table."""
    lines = [
        "| shards | runs each | events/s each | cores asked of each | of the busiest, p99 | busiest ÷ average, p99 "
        f"| backlog after {seconds} s |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in map(asdict, spreads):
        late = f"{one['delay_s']:.1f} s" if one["delay_s"] else "nothing"
        lines.append(
            f"| {one['shards']} | {one['runs']:,.0f} | {one['events']:,.0f} | {one['cores']:.2f} "
            f"| {one['busiest_cores']:.2f} | {one['imbalance']:.3f} | {late} |"
        )
    return "\n".join(lines)
