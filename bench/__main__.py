"""`python -m bench`: runs the measurements one after the other on a real server and prints the figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Final

import anyio

from bench import (
    export,
    fork,
    hosting,
    latency,
    lists,
    loop_alone,
    memory,
    paced,
    replay,
    saturated,
    states,
    tails,
    verify,
)
from bench.figures import Figure
from bench.report import print_json, print_table
from bench.server import Bench, describe_machine, running_server
from bench.sizes import SIZES, Sizes

__all__ = ["main"]

Measure = Callable[[Bench, Sizes, Callable[[str], None]], Awaitable[list[Figure]]]

_MEASUREMENTS: Final[dict[str, ModuleType]] = {
    "latency": latency,
    "saturated": saturated,
    "paced": paced,
    "loop": loop_alone,
    "hosting": hosting,
    "tails": tails,
    "memory": memory,
    "replay": replay,
    "export": export,
    "states": states,
    "verify": verify,
    "fork": fork,
    "lists": lists,
}
_LIMIT_S: Final = 240.0
"""The time limit of one measurement: if the machine is too busy for it, the others are still reported."""


def main() -> None:
    """Run the command. Returns 1, its exit code, if a measurement did not end in time."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="under a minute instead of four, rougher"
    )
    scale.add_argument("--smoke", dest="size", action="store_const", const="smoke", help="only check that it runs")
    parser.add_argument("--rounds", type=_rounds, help="how many rounds of product and yardsticks (5)")
    parser.add_argument("--only", action="append", choices=list(_MEASUREMENTS), help="may be given more than once")
    parser.add_argument("--list", action="store_true", help="list the measurements, and do not measure")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.list:
        for name, module in _MEASUREMENTS.items():
            print(f"{name:10} {(module.__doc__ or '').partition(chr(10))[0]}")
        return
    sizes = SIZES[arguments.size or "full"]
    sizes = replace(sizes, rounds=arguments.rounds or sizes.rounds)
    sys.exit(anyio.run(_run, arguments.only or list(_MEASUREMENTS), sizes, arguments.json))


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"there must be at least one round, not {rounds}")
    return rounds


async def _run(names: Sequence[str], sizes: Sizes, as_json: bool) -> int:
    figures: list[Figure] = []
    late: list[str] = []
    async with running_server() as bench:
        machine = describe_machine(bench.kind)
        for name in names:
            measure: Measure = _MEASUREMENTS[name].measure
            try:
                with anyio.fail_after(_LIMIT_S):
                    figures += await measure(bench, sizes, _say)
            except TimeoutError:
                late.append(name)
            await bench.clear()
    _say("")
    (print_json if as_json else print_table)(machine, figures)
    for name in late:
        print(f"{name}: not measured: the machine was too slow for the time limit", file=sys.stderr)
    return 1 if late else 0


def _say(text: str) -> None:
    """Print progress to standard error: in place on a terminal, else one line each."""
    before, after = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{before}{text}", end=after, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
