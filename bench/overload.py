"""`python -m bench.overload`: one worker that is offered twice its capacity loses no run, and stays fast.

First it measures the worker's capacity. Then it starts runs whose models together offer twice as much; they are held
until the last one is claimed, so that they start, stream and end together. Meanwhile short runs start and end all the
time in the remaining capacity. A few of the long runs are tailed. The delays are those from the append, when it leaves
the worker, to the client's yield, and those from the model's yield, which include the wait in the worker's buffers.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import anyio

from bench.children import Child, child
from bench.figures import percentile
from bench.fleet import AGENT, clock_ns, prompt
from bench.server import describe_machine, running_server
from bench.timed import timed_worker
from playhead.client import Client, Run
from playhead.runtime.core.errors import PlayheadError

__all__ = ["main"]

_CALIBRATION_RUNS = 200
_CALIBRATION_S = 3.0
_AS_FAST_AS_ACCEPTED = 10_000.0
_CONCURRENCY_FOR_SHORT_RUNS = 300
_SHORT = prompt(rate=100.0, count=5)
_LIMIT_S = 240.0
_DELAY_LIMIT_S = 0.5


class _Seen(NamedTuple):
    seq: int
    made_ns: int
    yielded_ns: int


async def _capacity(url: str) -> float:
    """Records a second that a worker stores when nothing else limits it."""
    config = {"url": url, "prefix": "calibrate", "concurrency": _CALIBRATION_RUNS, "held": False}
    async with child(timed_worker, config, uvloop=True) as fleet, Client(url, prefix="calibrate") as client:
        for _ in range(_CALIBRATION_RUNS):
            await client.start(AGENT, prompt(rate=_AS_FAST_AS_ACCEPTED, count=0))
        await _holding(fleet, _CALIBRATION_RUNS)
        first, began = (await fleet.ask("counts"))["records"], time.monotonic()
        await anyio.sleep(_CALIBRATION_S)
        last, ended = (await fleet.ask("counts"))["records"], time.monotonic()
        return (last - first) / (ended - began)


async def _holding(fleet: Child, runs: int) -> None:
    while (await fleet.ask("counts"))["running"] < runs:  # noqa: ASYNC110 - another process: it gives no signal
        await anyio.sleep(0.1)


async def _watch(run: Run, seen: list[_Seen]) -> None:
    async with aclosing(run.stream_async()) as events:
        seen += [_Seen(event.seq, int(event["data"]), clock_ns()) async for event in events if "data" in event]


async def _ended(run: Run) -> None:
    try:
        await run.result()
    except PlayheadError as error:
        print(f"{run.id}: {error}", file=sys.stderr)


async def _overload(url: str, *, runs: int, short: int, tails: int, seconds: float) -> bool:
    carried = await _capacity(url)
    rate = 2 * carried / runs
    config = {"url": url, "prefix": "overload", "concurrency": runs + _CONCURRENCY_FOR_SHORT_RUNS, "held": True}
    async with child(timed_worker, config, uvloop=True) as fleet, Client(url, prefix="overload") as client:
        asked = prompt(rate=rate, count=max(1, round(rate * seconds)))
        started = long = [await client.start(AGENT, asked) for _ in range(runs)]
        await _holding(fleet, runs)
        watched = long[:: max(1, runs // tails)]
        seen: list[list[_Seen]] = [[] for _ in watched]
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for run, its in zip(watched, seen, strict=True):
                tasks.start_soon(_watch, run, its)
            await fleet.ask("go", runs=[run.id for run in watched])
            started = [*long, *[await client.start(AGENT, _SHORT) for _ in range(short)]]
        for run in started:
            await _ended(run)
        took = time.monotonic() - began
        sent = [dict(its) for its in await fleet.ask("sent", runs=[run.id for run in watched])]
        infos = [await run.info() for run in started]
    lost = sum(info.epoch != 1 or info.state != "completed" for info in infos)
    crashes = sum(info.crashes for info in infos)
    both = zip(seen, sent, strict=True)  # a run's last records are written with its end, which is not an append
    appended = [one.yielded_ns - times[one.seq] for its, times in both for one in its if one.seq in times]
    made = [one.yielded_ns - one.made_ns for its in seen for one in its]
    print(f"carried alone            {carried:10,.0f} records/s")
    print(
        f"offered                  {runs * rate:10,.0f} records/s by {runs} runs, for {seconds:g} s; took {took:.1f} s"
    )
    print(f"runs, lost, crashes      {len(started):10,} {lost} {crashes}")
    print(f"append → yield, p50, p99 {percentile(appended, 50) / 1e9:10.3f} s {percentile(appended, 99) / 1e9:.3f} s")
    print(f"yield → yield, p50, p99  {percentile(made, 50) / 1e9:10.3f} s {percentile(made, 99) / 1e9:.3f} s")
    return not lost and not crashes and percentile(appended, 99) / 1e9 < _DELAY_LIMIT_S


async def _main(*, runs: int, short: int, tails: int, seconds: float) -> bool:
    with anyio.fail_after(_LIMIT_S):
        async with running_server() as bench:
            print(", ".join(f"{name} {value}" for name, value in describe_machine(bench.kind).items()))
            return await _overload(bench.url, runs=runs, short=short, tails=tails, seconds=seconds)


def main() -> None:
    """The command; exits with 1 if a run was lost, or if append → yield (p99) took half a second or more."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--short", type=int, default=3000, help="additional runs of five chunks")
    parser.add_argument("--tails", type=int, default=50, help="runs that are tailed")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long the models would stream without back-pressure"
    )
    sys.exit(0 if anyio.run(partial(_main, **vars(parser.parse_args()))) else 1)


if __name__ == "__main__":
    main()
