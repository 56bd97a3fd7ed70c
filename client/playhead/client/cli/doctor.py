"""`playhead doctor`: checks the servers, the user's rights and the fleet, or a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Final

import anyio
import typer
from rich.text import Text

from playhead.client.cli.checks.check import Check, CheckState, exit_code
from playhead.client.cli.checks.gather import Examined, examine
from playhead.client.cli.checks.of_run import check_file, check_run
from playhead.client.cli.reach import file_of, reach, run_pinned
from playhead.client.cli.render import print_json, printable
from playhead.client.cli.tables import print_beside
from playhead.client.cli.watch import Json, Prefix, Url
from playhead.runtime.log.redis.connection import DEFAULT_URL

__all__ = ["doctor"]

_STYLES: Final[dict[CheckState, str]] = {"ok": "green", "warning": "yellow", "failed": "red"}

_LOOKED_AT: Final = 10_000
"""Runs that are looked at on each shard, newest first: a monitor that asks each minute must not read a million."""


def doctor(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Check this run: a whole id, @last or a file.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning, too.")] = False,
    all_runs: Annotated[
        bool, typer.Option("--all", help=f"Look at all runs, not only at the newest {_LOOKED_AT:,} of each shard.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Check the servers, their settings, the user's rights and the fleet, or a run.

    Exit code: 0 nothing failed, 1 a check failed, 69 no server can be used, 77 it refuses the user.
    """

    async def main() -> int:
        if run_id is not None and (named := file_of(run_id)) is not None:
            found = await check_file(named[0], run_id=named[1])
            examined = Examined(found, exit_code(found, strict=strict))
        else:
            async with reach(url, at_rest=True) as where:
                if run_id is None:
                    limit = None if all_runs else _LOOKED_AT
                    is_default = url is None and where == DEFAULT_URL
                    examined = await examine(where, prefix=prefix, limit=limit, strict=strict, is_default=is_default)
                else:
                    found = await check_run(where, prefix=prefix, run_id=await run_pinned(run_id, where, prefix))
                    examined = Examined(found, exit_code(found, strict=strict))
        _print(examined.checks, as_json=as_json)
        return examined.code

    raise typer.Exit(anyio.run(main))


def _print(checks: Sequence[Check], *, as_json: bool) -> None:
    widest = max((len(one.check) for one in checks), default=0)
    for one in checks:
        if as_json:
            print_json(asdict(one))
            continue
        shard = "" if one.shard is None else f"shard {one.shard}: "
        head = Text.assemble((f"{one.state:<7}  ", _STYLES[one.state]), f"{one.check:<{widest}}  ")
        print_beside(head, Text(printable(f"{shard}{one.what}")))
        if one.do:
            arrow = Text(f"{'':<9}{'':<{widest}}  → ", style="dim")
            print_beside(arrow, Text(printable(one.do), style="dim"))
