"""The command that forks a run: `fork`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import anyio
import typer

from playhead.client.cli.questions import read_value
from playhead.client.cli.reach import file_of, reach
from playhead.client.cli.render import has_terminal, print_json, printable
from playhead.client.cli.watch import Json, Prefix, RunId, Url
from playhead.client.client import Client
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
    if (named := file_of(run_id)) is not None:
        raise ValueError(f"{run_id} is a file: store its run with `playhead import {named[0]}`, and fork that one")
    change: dict[str, Any] = {
        "at": at,
        "prompt": prompt,
        "results": _values("--result", result or ()),
        "answers": _values("--answer", answer or ()),
        "say": say,
    }

    def make(*, accept_effects: bool) -> str:
        async def main() -> str:
            async with reach(url) as where, Client(where, prefix=prefix) as client:
                return (await client.run(run_id).fork(**change, accept_effects=accept_effects)).id

        return anyio.run(main)

    try:
        made = make(accept_effects=yes)
    except ForkAfterEffectsError as error:
        if not (has_terminal() and _is_accepted(error)):
            raise
        made = make(accept_effects=True)
    if as_json:
        print_json({"run": made, "parent": run_id, "at": at})
    else:
        typer.echo(made)


def _is_accepted(error: ForkAfterEffectsError) -> bool:
    typer.echo(printable(error.warning), err=True)
    return typer.confirm("Fork nevertheless?", err=True)


def _values(option: str, given: Sequence[str]) -> dict[str, Any]:
    """The values by id; one that is JSON is parsed."""
    values: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not (key and equals):
            raise ValueError(f"{option} needs ID=VALUE, not {one!r}")
        values[key] = read_value(text)
    return values
