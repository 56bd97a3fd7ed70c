"""The command that forks a run: `fork`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import anyio
import typer

from playhead.client.cli.reach import reach
from playhead.client.cli.render import print_json, printable
from playhead.client.cli.watch import Json, Prefix, RunId, Url
from playhead.client.client import Client
from playhead.client.run import Run
from playhead.runtime.core.errors import ForkAfterEffectsError

__all__ = ["fork"]

Values = list[str] | None


def fork(
    run_id: RunId,
    at: Annotated[int, typer.Option("--at", metavar="SEQ", help="The last record of the run that the fork has, too.")],
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Another prompt.")] = None,
    result: Annotated[
        Values, typer.Option("--result", metavar="TOOLUSE=VALUE", help="The result of a call that has none there.")
    ] = None,
    answer: Annotated[
        Values, typer.Option("--answer", metavar="INTERRUPT=VALUE", help="The answer to a question that is open there.")
    ] = None,
    say: Annotated[str | None, typer.Option("--say", metavar="TEXT", help="A user message to the fork.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: fork also after tools have run.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Start a new run with the first records of another one, and a future of its own. The other one is not changed."""
    change: dict[str, Any] = {
        "at": at,
        "prompt": prompt,
        "results": _values("--result", result or ()),
        "answers": _values("--answer", answer or ()),
        "say": say,
    }

    async def main() -> str:
        async with reach(url) as where, Client(where, prefix=prefix) as client:
            return (await _fork(client.run(run_id), change, yes=yes)).id

    made = anyio.run(main)
    if as_json:
        print_json({"run": made, "parent": run_id, "at": at})
    else:
        typer.echo(made)


async def _fork(run: Run, change: dict[str, Any], *, yes: bool) -> Run:
    make = partial(run.fork, **change)
    try:
        return await make(accept_effects=yes)
    except ForkAfterEffectsError as error:
        if not sys.stdin.isatty():
            raise
        typer.echo(printable(error.warning), err=True)
        if not await anyio.to_thread.run_sync(partial(typer.confirm, "Fork nevertheless?", err=True)):
            raise
    return await make(accept_effects=True)


def _values(option: str, given: Sequence[str]) -> dict[str, Any]:
    """The values by id; one that is JSON is parsed."""
    values: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not (key and equals):
            raise ValueError(f"{option} needs ID=VALUE, not {one!r}")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values
