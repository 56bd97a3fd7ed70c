"""The command that lists runs: `runs`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Final

import anyio
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from playhead.client.cli.filters import Agent, Session, Since, State, Until, filters_of, nothing_fits
from playhead.client.cli.owners import owners_told
from playhead.client.cli.reach import with_client
from playhead.client.cli.render import STATE_STYLES, age, date, preview, print_json, printable, tags_text
from playhead.client.cli.tables import Column, print_table, table_lines
from playhead.client.cli.watch import Json, Prefix, Tags, Url
from playhead.client.client import Client
from playhead.runtime.core.errors import LogUnavailableError, RunNotFoundError
from playhead.runtime.core.interrupts import names_of
from playhead.runtime.core.records import Record, RunSubmitted, now_ms
from playhead.runtime.core.retry import rest_of_wait
from playhead.runtime.log.listing import EVERY_RUN, RunFilter, RunPage, place_of
from playhead.runtime.log.values import RunInfo

__all__ = ["runs"]

_COLUMNS: Final = (
    Column("run"),
    Column("agent", 1),
    Column("state"),
    Column("age", 2),
    Column("prompt", 3),
    Column("tags", 4),
    Column("records", 6, right=True),
    Column("owners", 5),
    Column("session", 7),
    Column("submitted", 8),
)
_PROMPT: Final = 40
_BESIDE_PROMPT: Final = 58
"""The characters of a prompt, and of what is more important beside it."""

_EVERY_S: Final = 2.0


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="Number of runs, newest first.")] = 20,
    agent: Agent = None,
    state: State = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    tag: Tags = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="Only older runs: what the page before ended with.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the list again every two seconds.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """List the newest runs; archived ones too, with PLAYHEAD_ARCHIVE."""
    filters = filters_of(agent=agent, state=state, session=session, since=since, until=until, tags=tag)
    after = None if cursor is None else place_of(cursor)
    if watch and not (as_json or sys.stdout.isatty()):
        raise ValueError("--watch needs a terminal to show the list in; with --json it prints each run that changes")

    async def act(client: Client) -> int:
        table = _Table(client, Console().width if sys.stdout.isatty() else None)
        if watch:
            await (_watch_json(client, filters, limit) if as_json else _watch(table, filters, limit))
        page = await client.reader.runs(filters, limit=limit, after=after)
        if not page and filters != EVERY_RUN:
            raise RunNotFoundError(await nothing_fits(client, filters))
        if as_json:
            for info in page:
                print_json(asdict(info))
        elif page:
            print_table(_COLUMNS, await table.rows(page))
        else:
            typer.echo("no runs yet; start one: playhead ask AGENT PROMPT", err=True)
        if page.cursor is not None:
            typer.echo(f"(there are older runs: --cursor {page.cursor})", err=True)
        return 0

    try:
        with_client(url, prefix, act)
    except KeyboardInterrupt:
        if not watch:
            raise
        raise typer.Exit(0) from None


async def _watch(table: _Table, filters: RunFilter, limit: int) -> None:
    """Show the list until the user leaves; while the server does not answer, say so above it."""
    console = Console(highlight=False)
    rows: list[list[str | Text]] = []
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            problem = ""
            try:
                rows = await table.rows(await table.client.reader.runs(filters, limit=limit))
            except LogUnavailableError as error:
                problem = str(error)
            head = Text(printable(problem), style="red") if problem else Text(f"{date(now_ms())}, Ctrl-C leaves", "dim")
            live.update(Group(head, *table_lines(_COLUMNS, rows, width=console.width)), refresh=True)
            await anyio.sleep(_EVERY_S)


async def _watch_json(client: Client, filters: RunFilter, limit: int) -> None:
    """Print each run when it is first seen, and when it has changed, the oldest first."""
    seen: dict[str, RunInfo] = {}
    while True:
        page = await client.reader.runs(filters, limit=limit)
        for info in reversed(page):
            if seen.get(info.run_id) != info:
                print_json(asdict(info))
        seen = {info.run_id: info for info in page}
        await anyio.sleep(_EVERY_S)


class _Table:
    """Makes rows of runs, for a terminal of a width or for a pipe; it keeps the first record of each run that it shows."""

    def __init__(self, client: Client, width: int | None) -> None:
        self.client = client
        self._longest = _PROMPT if width is None else max(12, min(_PROMPT, width - _BESIDE_PROMPT))
        self._first: dict[str, Record | None] = {}

    async def rows(self, page: RunPage) -> list[list[str | Text]]:
        """A row for each run. What they need is read at once."""
        found: dict[str, list[str | Text]] = {}

        async def one(info: RunInfo) -> None:
            found[info.run_id] = await self._row(info)

        async with anyio.create_task_group() as tasks:
            for info in page:
                tasks.start_soon(one, info)
        self._first = {info.run_id: self._first[info.run_id] for info in page}
        return [found[info.run_id] for info in page]

    async def _row(self, info: RunInfo) -> list[str | Text]:
        state = Text(info.state, style=STATE_STYLES.get(info.state, ""))
        state.append(printable(await self._waits_for(info)))
        first = await self._first_record(info.run_id)
        asked = preview(first.prompt, longest=self._longest) if isinstance(first, RunSubmitted) else ""
        number, *told = await owners_told(self.client.log_of(info.run_id), info, first)
        return [
            info.run_id,
            info.agent,
            state,
            age(info.created),
            printable(asked),
            printable(tags_text(info.metadata)),
            str(info.head),
            f"{number} ({told[0]})" if told else number,
            info.session or "",
            date(info.created),
        ]

    async def _first_record(self, run_id: str) -> Record | None:
        """Its first record; None for a run that only the archive has, whose file would have to be read."""
        if run_id not in self._first:
            first = await self.client.log_of(run_id).read(run_id, limit=1)
            self._first[run_id] = first[0].record if first else None
        return self._first[run_id]

    async def _waits_for(self, info: RunInfo) -> str:
        """What a run waits for, to append to its state; empty if it does not wait."""
        if info.state not in ("paused", "running") and not info.due:
            return ""
        run = self.client.run(info.run_id)
        if info.state == "paused" and (pause := await run.pause()):
            return f": {', '.join(names_of(pause.interrupts).values())}"
        if (info.state == "running" or info.due) and (failed := await run.failed_call()):
            rest = rest_of_wait(failed.delay, since=failed.at, now=now_ms())
            return f": {failed.error_type}, calls the model again in {rest:.0f} s"
        return ""
