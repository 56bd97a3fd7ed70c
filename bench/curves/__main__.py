"""`python -m bench.curves`: measures how costs grow, stores the figures, draws them, and fills docs/scaling.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import anyio

from bench.curves import readers, records, runs, tails, workers
from bench.curves.curve import FOLDER, Curve, load, save
from bench.curves.draw import draw
from bench.curves.page import filled, parts
from bench.curves.sizes import FULL, QUICK, SMOKE, CurveSizes
from bench.scaling import shards_table
from bench.server import describe_machine, running_server
from bench.simulation import Load

__all__ = ["main"]

_CURVES: Final[dict[str, ModuleType]] = {
    "runs": runs,
    "workers": workers,
    "tails": tails,
    "readers": readers,
    "records": records,
}
_PAGE: Final = FOLDER.parent / "scaling.md"
_LIMIT_S: Final = 240.0
"""The time limit of one curve."""


def main() -> None:
    """Run the command. Returns 1, its exit code, if a curve was not measured in time."""
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_const", dest="sizes", const=QUICK, help="small sizes, in a minute")
    scale.add_argument("--smoke", action="store_const", dest="sizes", const=SMOKE, help="does it run at all?")
    scale.add_argument("--draw", action="store_true", help="measure nothing: draw and fill the page from what is kept")
    parser.add_argument("--only", action="append", choices=list(_CURVES), help="may be given more than once")
    parser.add_argument("--out", type=Path, help="a folder for the figures, instead of docs/; nothing is drawn")
    arguments = parser.parse_args()
    names = arguments.only or list(_CURVES)
    if arguments.sizes is not None and arguments.out is None:
        parser.error("small sizes are not for the documentation: name a folder by --out")
    missed = [] if arguments.draw else anyio.run(_measure, names, arguments.sizes or FULL, arguments.out or FOLDER)
    if arguments.out is None:
        _document()
    for name in missed:
        print(f"{name}: not measured, since the machine did not get through it in time", file=sys.stderr)
    sys.exit(1 if missed else 0)


async def _measure(names: list[str], sizes: CurveSizes, folder: Path) -> list[str]:
    """Measure and store each curve; returns the names of those that took too long."""
    missed: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    async with running_server() as bench:
        for name in names:
            machine = describe_machine(bench.kind)
            try:
                with anyio.fail_after(_LIMIT_S):
                    points = await _CURVES[name].measure(bench, sizes, _say)
            except TimeoutError:
                missed.append(name)
            else:
                _say(str(save(Curve(name=name, machine=machine, points=points), folder)))
            await bench.clear()
    return missed


def _document() -> None:
    """Draw all stored curves, simulate the shards, and fill the page."""
    curves = {name: load(name) for name in _CURVES}
    for curve in curves.values():
        _say(str(draw(curve)))
    _say("shards: simulating")
    shards = shards_table(curves, Load())
    _PAGE.write_text(filled(_PAGE.read_text(encoding="utf-8"), parts(curves, shards=shards)), encoding="utf-8")
    _say(str(_PAGE))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
