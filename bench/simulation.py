"""Many runs over N shards: what each shard carries, and how uneven hashing makes it. Pure; `python -m bench.scaling` runs it.

A discrete-event simulation of runs that speak for a while and wait for a while (a tool, a person, the next token of a
slow model), each at a pace of its own. A session's id is hashed to a shard, as the design has it. A shard is one Redis
core: what is asked of it in a second is the CPU of its events, of holding its runs, and of the workers' looks for work; what
it cannot do in that second stays, and is the delay of what comes behind it. The unit costs are measured, not assumed.
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
"""Of the gamma distribution of paces: half of the runs lie within a third of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is simulated.

    Attributes:
        runs: Runs at once, each of a session of its own.
        rate: Events a second of a run that speaks, on average.
        speaking_s, waiting_s: How long runs speak and wait, on average; exponentially distributed.
        seconds: How long it is looked at, once a second.
        placements: How often it is begun anew with other session ids.
        seed: Of all that is random.
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
        """The part of the runs that speaks."""
        return self.speaking_s / (self.speaking_s + self.waiting_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCosts:
    """What a shard's core does.

    Attributes:
        event_us: CPU for one event.
        held_us: CPU a second for a run that is held, speaking or not.
        fixed_us: CPU a second for the workers, which all ask each shard for work.
    """

    event_us: float
    held_us: float
    fixed_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What came of it for one number of shards.

    Attributes:
        shards: Their number.
        runs: Runs of a shard, on average.
        events: Events a second of a shard, on average.
        cores: The part of a core that a shard is asked for, on average.
        busiest_cores: The same of the busiest shard of a second; its 99th percentile over the seconds.
        imbalance: The busiest shard's events beside the average; its 99th percentile over the seconds.
        delay_s: How long the slowest shard lies behind at the end.
    """

    shards: int
    runs: float
    events: float
    cores: float
    busiest_cores: float
    imbalance: float
    delay_s: float


class _Shards:
    """The shards of one placement: what they carry now, and what they have seen."""

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
        """A run begins (or, with a negative pace, ends) to speak."""
        self.events[self._homes[run] % self.count] += pace

    def second(self) -> None:
        """A second passes."""
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
    """One placement, carried by each number of shards at once."""
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
    """What each number of shards comes to, over all placements. The same seed gives the same."""
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
