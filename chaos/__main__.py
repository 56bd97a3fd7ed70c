"""`python -m chaos`: injures a real fleet at random and checks that no promise breaks.

Exit code 0: no promise broke. 1: a promise broke; the first violations are printed, and a folder with the logs is kept.
2: the time limit was reached before the last injury.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from typing import Final

import anyio

from bench.report import print_table
from bench.server import describe_machine
from chaos.chaos import Outcome, run_chaos
from chaos.injuries import DECK, KINDS, SINGLE_ONLY
from chaos.stage import Options

__all__ = ["main"]

_SHOWN: Final = 20
_SERVER: Final = (
    "the server that is injured: a single server (the default), a primary with a replica and a sentinel, or a cluster of "
    "three nodes with a replica each. Killing the server is then a failover, the fleet waits until a replica has its "
    "writes (durability replicated), and injuries that need a proxy (cut, slow, hold, lose) or a "
    "read-only server are left out"
)


_PROVIDER: Final = (
    "serve N runs by a fake provider in the place of the scripted model. It fails and distorts its answers at random, as "
    "known providers do, and refuses every request that a strict provider refuses. The injuries go on until the N runs "
    "are over; then each session runs once more"
)
_UNLIMITED: Final = 1_000_000


def main() -> None:
    """The command."""
    arguments = _arguments()
    unasked = _UNLIMITED if arguments.provider else 100
    injuries = unasked if arguments.injuries is None else arguments.injuries
    longest = 60 + (5.0 * arguments.provider or 4 * arguments.pace * injuries)
    options = Options(
        seed=random.randrange(1 << 32) if arguments.seed is None else arguments.seed,
        injuries=injuries,
        deck=_deck(arguments.only or [""], server=arguments.server),
        server=arguments.server,
        workers=arguments.workers,
        viewers=arguments.viewers,
        runs=arguments.sessions if arguments.provider else arguments.runs,
        lease_s=arguments.lease,
        pace_s=arguments.pace,
        appendfsync=arguments.appendfsync,
        tls=arguments.tls,
        keep=arguments.keep,
        limit_s=arguments.limit or longest,
        provided=arguments.provider,
    )
    _say(f"seed {options.seed}")
    # SIGTERM ends the command in the same order as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        outcome = anyio.run(run_chaos, options, _say)
    except KeyboardInterrupt:
        sys.exit(130)
    _report(options, outcome, as_json=arguments.json)
    sys.exit(1 if outcome.violations else 0 if outcome.complete else 2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--injuries", type=int, metavar="N", help="how many (100)")
    parser.add_argument("--seed", type=int, help="of the random choices; by default a new one, which is printed")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes, 2 or more (4)")
    parser.add_argument("--viewers", type=int, default=2, metavar="N", help="viewer processes (2)")
    parser.add_argument("--runs", type=int, default=24, metavar="N", help="conversations at once (24)")
    parser.add_argument("--provider", type=int, default=0, metavar="N", help=_PROVIDER)
    parser.add_argument("--sessions", type=int, default=20, metavar="N", help="of the fake provider's runs (20)")
    parser.add_argument("--lease", type=float, default=2.0, metavar="S", help="seconds, 2 or more (2)")
    parser.add_argument(
        "--pace", type=float, default=0.9, metavar="S", help="seconds between injuries, on average (0.9)"
    )
    parser.add_argument("--limit", type=float, metavar="S", help="no injury after this many seconds")
    parser.add_argument("--server", choices=["single", "sentinel", "cluster"], default="single", help=_SERVER)
    parser.add_argument(
        "--appendfsync", choices=["always", "everysec"], default="always", help="of a single server (always)"
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="all processes speak TLS to a single server, with a certificate made for the run",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs even if no promise broke")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only injuries with TEXT in their name")
    arguments = parser.parse_args()
    if arguments.workers < 2 or arguments.viewers < 1 or arguments.runs < 1 or arguments.lease < 2:
        parser.error("there must be at least 2 workers, 1 viewer, 1 run and a lease of 2 seconds")
    if arguments.provider < 0 or arguments.sessions < 1:
        parser.error("there must be at least 1 session, and not less than 0 runs of a fake provider")
    if arguments.tls and arguments.server != "single":
        parser.error(
            "--tls needs a single server: proxies terminate TLS, and clients of the other servers use no proxy"
        )
    return arguments


def _deck(texts: list[str], *, server: str) -> tuple[str, ...]:
    left_out = frozenset[str]() if server == "single" else SINGLE_ONLY
    found = tuple(kind for kind in DECK if kind not in left_out and any(text in kind for text in texts))
    if not found:
        there = ", ".join(kind for kind in KINDS if kind not in left_out)
        sys.exit(f"no injury has {' or '.join(texts)} in its name; there are: {there}")
    return found


def _report(options: Options, outcome: Outcome, *, as_json: bool) -> None:
    machine = {
        **describe_machine(""),
        "server": outcome.server,
        "seed": str(options.seed),
        **({"link": "TLS"} if options.tls else {}),
        "fleet": f"{options.workers} workers, {options.viewers} viewers, {options.runs} conversations at once",
        **({"provider": f"{options.provided} runs in {options.runs} sessions"} if options.provided else {}),
        "took": f"{outcome.took_s:.0f} s",
    }
    broken = [str(violation) for violation in outcome.violations]
    if as_json:
        told = {"machine": machine, "complete": outcome.complete, "violations": broken, "folder": str(outcome.folder)}
        print(json.dumps({**told, "figures": [figure.as_json() for figure in outcome.figures]}, indent=2))
        return
    print_table(machine, outcome.figures, title="chaos: injuries and results")
    for line in broken[:_SHOWN]:
        print(line)
    if len(broken) > _SHOWN:
        print(f"and {len(broken) - _SHOWN} more")
    if outcome.folder is not None:
        print(f"the logs are in {outcome.folder}")
    if not outcome.complete:
        print("the time limit was reached before the last injury")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
