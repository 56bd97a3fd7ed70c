"""The command that compares two runs: `diff`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from playhead.client.cli.page.diff import diff_page
from playhead.client.cli.page.files import write_page
from playhead.client.cli.reach import NEWEST, opened
from playhead.client.cli.render import print_json, printable
from playhead.client.cli.telling import act_line, numbers, where_they_part
from playhead.client.cli.watch import Json, Prefix, RunOrFile, Url
from playhead.client.prices import Prices, cost_of, read_prices
from playhead.client.reader import RunReader, side_by_side
from playhead.runtime.core.run_acts import RunAct
from playhead.runtime.core.run_diff import ActPair, Differ, RunDiff, RunSummary
from playhead.runtime.core.timeline import Drawing, Timeline

__all__ = ["diff"]


@dataclass(frozen=True, slots=True)
class _Compared:
    """Two runs, compared. The pairs are of the left run and of the right one.

    Attributes:
        found: How they differ.
        drawn: Their timelines.
        costs: What they cost; None for what is not known.
    """

    found: RunDiff
    drawn: tuple[Timeline, Timeline]
    costs: tuple[float | None, float | None]

    @property
    def numbers(self) -> tuple[str, str]:
        """Each run in numbers."""
        return numbers(self.found.left, self.costs[0]), numbers(self.found.right, self.costs[1])


def diff(
    left: RunOrFile,
    right: RunOrFile,
    everything: Annotated[bool, typer.Option("--all", help="Also show what both did alike.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with both runs side by side.")
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", metavar="FILE", help="Tell what each cost; JSON: model id to input and output price."),
    ] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Compare two runs: where they part, and side by side what each did. Exit 1 if they did different things."""
    table = {} if prices is None else read_prices(prices)

    async def main() -> tuple[_Compared, tuple[str, str]]:
        async with opened(left, url, prefix) as mine, opened(right, url, prefix) as theirs:
            names = _name(left, mine), _name(right, theirs)
            return await _compared(mine, theirs, table, drawn=html is not None), names

    compared, names = anyio.run(main)
    found = compared.found
    if html is not None:
        write_page(html, diff_page(found, names=names, numbers=compared.numbers, drawn=compared.drawn))
    elif as_json:
        _print_json(compared)
    else:
        _print(compared, names, everything=everything)
    raise typer.Exit(0 if found.same else 1)


def _name(given: str, run: RunReader) -> str:
    """What a run is called: as it was named, unless that tells nothing of it."""
    return run.id if given == NEWEST else given


async def _compared(left: RunReader, right: RunReader, prices: Prices, *, drawn: bool) -> _Compared:
    differ, drawings = Differ(), (Drawing(), Drawing())
    async for pages in side_by_side(left, right):
        differ.add(*pages)
        if drawn:
            for drawing, page in zip(drawings, pages, strict=True):
                for entry in page:
                    drawing.add(entry)
    found = differ.value()
    costs = (None, None)
    if prices:
        costs = await cost_of(left, found.left, prices), await cost_of(right, found.right, prices)
    return _Compared(found, (drawings[0].value(), drawings[1].value()), costs)


def _print_json(compared: _Compared) -> None:
    found = compared.found
    sides = [
        _summary(side) | {"cost": cost} for side, cost in zip((found.left, found.right), compared.costs, strict=True)
    ]
    print_json({"common": found.common, "same": found.same, "left": sides[0], "right": sides[1]})
    for pair in found.pairs:
        acts = {"left": pair.left and _plain(pair.left), "right": pair.right and _plain(pair.right)}
        print_json({"cycle": pair.either.cycle, "kind": pair.either.kind, "same": pair.same, **acts})


def _summary(side: RunSummary) -> dict[str, Any]:
    return {name: value for name, value in asdict(side).items() if name != "made"}


def _plain(act: RunAct) -> dict[str, Any]:
    return {name: value for name, value in asdict(act).items() if name not in ("kind", "place")}


def _print(compared: _Compared, names: tuple[str, str], *, everything: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    found = compared.found
    console.print(Text(printable(where_they_part(found)), style="bold"))
    shown = [pair for pair in found.pairs if everything or not pair.same]
    if console.is_terminal:
        console.print(_table(shown, names, compared.numbers), soft_wrap=False)
        return
    for mark, name, told in zip("-+", names, compared.numbers, strict=True):
        console.print(Text(printable(f"{mark} {name}: {told}")))
    for pair in shown:
        for line in _lines(pair):
            console.print(Text(printable(line)))


def _lines(pair: ActPair) -> list[str]:
    if pair.same:
        return [f"  {act_line(pair.either)}"]
    return [f"{mark} {act_line(act)}" for mark, act in (("-", pair.left), ("+", pair.right)) if act is not None]


def _table(shown: list[ActPair], names: tuple[str, str], told: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("cycle", no_wrap=True)
    for name in names:
        table.add_column(printable(name), ratio=1, overflow="fold")
    table.add_row("", *told, style="dim")
    for pair in shown:
        sides = [Text(printable(act_line(act, cycle=False)) if act else "(nothing)") for act in (pair.left, pair.right)]
        if not pair.same:
            sides[0].stylize("red")
            sides[1].stylize("green")
        table.add_row(str(pair.either.cycle or ""), *sides)
    return table
