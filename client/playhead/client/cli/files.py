"""Commands for runs that are kept as files: `export`, `import`, `check`, `archive`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, cast

import typer

from playhead.client.cli.reach import run_named, with_client
from playhead.client.cli.render import counted, print_json
from playhead.client.cli.watch import Json, Prefix, Url
from playhead.client.client import Client
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.redaction import Redaction, patterns_of
from playhead.runtime.log.file.search import Found, find

__all__ = ["archive", "check", "export", "import_file"]

_DAY_MS = 24 * 3600 * 1000
_SHOWN = 20

Patterns = list[str] | None


def export(
    run_ids: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="The runs' ids, or the beginnings of them, or @last.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; one there is replaced.")
    ],
    redact: Annotated[
        Patterns, typer.Option("--redact", metavar="KIND:PATH", help="Take out the values at a path.")
    ] = None,
    redact_pattern: Annotated[
        Patterns, typer.Option("--redact-pattern", metavar="REGEX", help="Take out what matches, in any field.")
    ] = None,
    redact_with: Annotated[
        str | None, typer.Option("--redact-with", metavar="MODULE:FUNCTION", help="Take out what a function does.")
    ] = None,
    check_for: Annotated[
        Patterns, typer.Option("--check", metavar="REGEX", help="Write no file if this is found in any field of it.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Write runs to a file of JSON lines, with everything that is needed to play them and look into them."""
    function = None if redact_with is None else _function(redact_with)
    rules = redact or redact_pattern or function
    redaction = Redaction(paths=redact or (), patterns=redact_pattern or (), function=function) if rules else None
    with_client(
        url,
        prefix,
        partial(_export, run_ids, output, redaction=redaction, check_for=check_for or (), as_json=as_json),
    )


class _FoundError(Exception):
    """The file holds something that it must not hold."""

    def __init__(self, found: list[Found]) -> None:
        super().__init__()
        self.found = found


async def _export(
    run_ids: list[str],
    output: str,
    client: Client,
    *,
    redaction: Redaction | None,
    check_for: Iterable[str],
    as_json: bool,
) -> int:
    patterns = patterns_of(check_for)

    def look(path: str) -> None:
        if patterns and (found := list(find(path, patterns))):
            raise _FoundError(found)

    try:
        named = [(await run_named(client, one)).id for one in run_ids]
        told = await export_runs(client.reader, named, output, redaction=redaction, check=look)
    except _FoundError as error:
        _print_found(error.found, as_json=as_json)
        typer.echo(f"playhead: found in {counted(len(error.found), 'place')}; no file was written", err=True)
        return 1
    if as_json:
        print_json({"file": output, "runs": told.runs, "records": told.records, "unfinished": told.unfinished})
        return 0
    typer.echo(f"{output}: {counted(told.runs, 'run')}, {counted(told.records, 'record')}", err=True)
    for run_id in told.unfinished:
        typer.secho(f"run {run_id} has not ended: the file has its records up to now", err=True, fg="yellow")
    return 0


def _function(name: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """The function that `module:function` names; a module in the current folder takes precedence."""
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ValueError(f"--redact-with needs MODULE:FUNCTION, not {name!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise ValueError(f"--redact-with {name}: cannot import {module!r}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise ValueError(f"--redact-with {name}: {module} has no function {attribute!r}")
    return cast("Callable[[str, dict[str, Any]], dict[str, Any]]", found)


def _print_found(found: list[Found], *, as_json: bool) -> None:
    for place in found if as_json else found[:_SHOWN]:
        if as_json:
            print_json({"line": place.line, "where": place.where})
        else:
            typer.echo(f"line {place.line}: {place.where}")
    if not as_json and len(found) > _SHOWN:
        typer.echo(f"… and in {len(found) - _SHOWN} more places")


def archive(
    place: Annotated[str, typer.Argument(metavar="ARCHIVE", help="A folder, or a URL of fsspec: s3://bucket/runs.")],
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Write ended runs to an archive, each one once. Nothing is removed from Redis."""
    with_client(url, prefix, partial(_archive, place, as_json=as_json))


async def _archive(place: str, client: Client, *, as_json: bool) -> int:
    written, damaged = 0, 0
    async with aclosing(client.archive_runs(place)) as runs:
        async for info, error in runs:
            if error is not None:
                damaged += 1
                typer.secho(f"run {info.run_id} was not archived: {error}", err=True, fg="red")
                continue
            written += 1
            if as_json:
                print_json({"run": info.run_id, "state": info.state, "records": info.head})
    if not as_json:
        typer.echo(f"{counted(written, 'run')} archived", err=True)
    return 1 if damaged else 0


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    patterns: Annotated[list[str], typer.Argument(metavar="REGEX...", help="What must not be in it.")],
    as_json: Json = False,
) -> None:
    """Look for secrets in a file of runs; exit 1 if one is found. What is found is not printed, but where it is."""
    found = list(find(file, patterns_of(patterns)))
    _print_found(found, as_json=as_json)
    if not found and not as_json:
        typer.echo("not found in any field", err=True)
    raise typer.Exit(1 if found else 0)


def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that `export` wrote.")],
    as_id: Annotated[str | None, typer.Option("--as", metavar="NEW_ID", help="The id of the run here.")] = None,
    keep: Annotated[float, typer.Option("--keep", metavar="DAYS", help="How long it is kept.")] = 7.0,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Store the runs of a file in Redis. No worker runs them: they have ended, and can be read as any other run."""
    with_client(url, prefix, partial(_import, file, as_id=as_id, keep=keep, as_json=as_json))


async def _import(file: str, client: Client, *, as_id: str | None, keep: float, as_json: bool) -> int:
    for run in await client.import_runs(file, as_id=as_id, keep_s=keep * _DAY_MS / 1000):
        info = await run.info()
        if as_json:
            print_json({"run": run.id, "state": info.state, "records": info.head})
        else:
            typer.echo(run.id)
    return 0
