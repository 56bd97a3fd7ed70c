"""The command that deletes runs: `rm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Final

import anyio
import typer

from playhead.client.cli.filters import Agent, Session, State, filters_of, fitting, nothing_fits, time_of
from playhead.client.cli.reach import reach, run_named
from playhead.client.cli.render import counted, date, has_terminal, print_json
from playhead.client.cli.watch import Json, Prefix, Tags, Url
from playhead.client.client import Client
from playhead.runtime.core.errors import RunNotEndedError, RunNotFoundError
from playhead.runtime.log.listing import RunFilter
from playhead.runtime.log.values import RunInfo

__all__ = ["rm"]

_AT_ONCE: Final = 100


def rm(
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="The runs' ids, or the beginnings of them, or @last.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="TIME", help="All runs submitted before then: 7d, 12h, 30m, 90s, or a date."
        ),
    ] = None,
    agent: Agent = None,
    state: State = None,
    session: Session = None,
    tag: Tags = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before all runs of a time are deleted.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Delete runs that have ended. The messages of their sessions stay, and so do their copies in an archive."""
    filters = filters_of(agent=agent, state=state, session=session, tags=tag)
    if (older_than is None) == (not run_ids):
        raise ValueError("name what to delete: either RUN, or --older-than TIME for all runs submitted before then")
    if older_than is None:
        if filters != filters_of():
            raise ValueError(
                "--agent, --state, --session and --tag are for --older-than; a RUN is deleted whatever it is"
            )
        act = partial(_named, run_ids=run_ids or (), as_json=as_json)
    else:
        chosen = replace(filters, until=time_of("--older-than", older_than))
        act = partial(_older, filters=chosen, yes=yes, as_json=as_json)

    async def main() -> int:
        async with reach(url, at_rest=True) as where, Client(where, prefix=prefix) as client:  # without the archive
            return await act(client)

    raise typer.Exit(anyio.run(main))


async def _named(client: Client, *, run_ids: Sequence[str], as_json: bool) -> int:
    for name in run_ids:
        run = await run_named(client, name)
        state = await run.delete()
        if as_json:
            print_json({"run": run.id, "state": state})
        else:
            typer.echo(f"run {run.id}: deleted", err=True)
    return 0


async def _older(client: Client, *, filters: RunFilter, yes: bool, as_json: bool) -> int:
    runs = await fitting(client, filters)
    ended = [info for info in runs if info.ended]
    before = f"submitted before {date(filters.until or 0)}"
    if not runs:
        raise RunNotFoundError(await nothing_fits(client, filters))
    if ended and not yes and not _is_meant(len(ended), before):
        return 1
    deleted = 0
    for start in range(0, len(ended), _AT_ONCE):
        deleted += await _several(client, ended[start : start + _AT_ONCE], as_json=as_json)
    if not as_json:
        kept = f"; kept, because not ended: {len(runs) - len(ended)}" if len(runs) > len(ended) else ""
        typer.echo(f"{counted(deleted, 'run')} deleted, {before}{kept}", err=True)
    return 0


def _is_meant(count: int, before: str) -> bool:
    if not has_terminal():
        raise ValueError(f"{counted(count, 'run')} {before} would be deleted; --yes deletes without a question")
    return typer.confirm(f"Delete {counted(count, 'run')} {before}? It cannot be undone.", err=True)


async def _several(client: Client, runs: Sequence[RunInfo], *, as_json: bool) -> int:
    """Delete runs at once; returns how many. One that is gone meanwhile is not counted."""
    deleted: list[RunInfo] = []

    async def one(info: RunInfo) -> None:
        try:
            await client.run(info.run_id).delete()
        except (RunNotFoundError, RunNotEndedError):  # its retention has ended, or another run has its id now
            return
        deleted.append(info)

    async with anyio.create_task_group() as tasks:
        for info in runs:
            tasks.start_soon(one, info)
    for info in deleted if as_json else ():
        print_json({"run": info.run_id, "state": info.state})
    return len(deleted)
