"""`python -m bench`: runs the measurements one after the other on one real server, and prints what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from bench import latency, loop_alone, memory, replay, saturated, tails
from bench.figures import SIZES, Figure, Sizes
from bench.report import print_json, print_table
from bench.server import Bench, describe_machine, running_server

__all__ = ["main"]

Measure = Callable[[Bench, Sizes, Callable[[str], None]], Awaitable[list[Figure]]]

_MEASUREMENTS: dict[str, Measure] = {
    "latency": latency.measure,
    "saturated": saturated.measure,
    "loop": loop_alone.measure,
    "tails": tails.measure,
    "memory": memory.measure,
    "replay": replay.measure,
}
_LIMIT_S = 300


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="half a minute instead of two, rougher"
    )
    scale.add_argument("--smoke", dest="size", action="store_const", const="smoke", help="does it run at all?")
    parser.add_argument("--full", action="store_true", help="10,000 tails instead of 1,000")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", action="append", choices=list(_MEASUREMENTS), help="may be given more than once")
    arguments = parser.parse_args()
    sizes = SIZES[arguments.size or "normal"]
    if arguments.full:
        sizes = replace(sizes, tails=10_000)
    anyio.run(_run, arguments.only or list(_MEASUREMENTS), sizes, arguments.json)


async def _run(names: list[str], sizes: Sizes, as_json: bool) -> None:
    figures: list[Figure] = []
    with anyio.fail_after(_LIMIT_S):
        async with running_server() as bench:
            machine = describe_machine(bench.kind)
            for name in names:
                figures += await _MEASUREMENTS[name](bench, sizes, _say)
                await bench.clear()
    _say("")
    (print_json if as_json else print_table)(machine, figures)


def _say(text: str) -> None:
    """What is going on, on standard error: in place on a terminal, else a line each."""
    before, after = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{before}{text}", end=after, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
