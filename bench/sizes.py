"""The sizes of the measurements: full, quick, or only large enough to check that they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SIZES", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The size of each measurement in a round.

    Attributes:
        rounds: How many rounds of product and yardsticks.
        latency_s: Seconds of events at 100 a second, for each of the three that are timed.
        runs: Runs at once: saturated, paced and waiting.
        window_s: Seconds in which a fleet is measured, each time after its rate is steady.
        yardstick_s: Seconds of each yardstick for writes.
        loop_chunks: Chunks of a message in process.
        tails: Tails open at once.
        tokens: Tokens in a stream whose memory is measured.
        replay_records: Records of the log that is replayed, exported and forked.
        listed_runs: Runs of which pages are listed.
    """

    rounds: int
    latency_s: float
    runs: int
    window_s: float
    yardstick_s: float
    loop_chunks: int
    tails: int
    tokens: int
    replay_records: int
    listed_runs: int


SIZES: Final = {
    "full": Sizes(
        rounds=5,
        latency_s=2.0,
        runs=1000,
        window_s=3.0,
        yardstick_s=1.0,
        loop_chunks=100_000,
        tails=10_000,
        tokens=20_000,
        replay_records=100_000,
        listed_runs=200_000,
    ),
    "quick": Sizes(
        rounds=2,
        latency_s=0.5,
        runs=500,
        window_s=1.0,
        yardstick_s=0.3,
        loop_chunks=20_000,
        tails=500,
        tokens=5_000,
        replay_records=20_000,
        listed_runs=100_000,
    ),
    "smoke": Sizes(
        rounds=1,
        latency_s=0.1,
        runs=5,
        window_s=0.2,
        yardstick_s=0.1,
        loop_chunks=500,
        tails=5,
        tokens=300,
        replay_records=300,
        listed_runs=300,
    ),
}
"""By name: `full` takes about four minutes, `quick` under one, `smoke` measures nothing useful."""
