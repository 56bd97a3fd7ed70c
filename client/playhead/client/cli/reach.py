"""Finds the server for a command."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import typer

from playhead.client.client import Client
from playhead.client.files import open_log
from playhead.client.finding import DATA_DIRECTORY, data_folder, folder_named, listening, running_in, with_places
from playhead.client.reader import RunReader
from playhead.client.run import Run
from playhead.client.tails.notice import Notice
from playhead.runtime.core.errors import LogUnavailableError, RunNotFoundError
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import DEFAULT_URL

__all__ = [
    "NEWEST",
    "PREFIX_HELP",
    "URL_HELP",
    "archive_in_use",
    "file_of",
    "kept_here",
    "run_pinned",
    "opened",
    "reach",
    "run_named",
    "with_client",
    "with_run",
]

URL_HELP: Final = (
    "Redis to use, or a folder of `playhead dev`. Default: the nearest .playhead/, here or above, else "
    "redis://localhost:6379."
)
NEWEST: Final = "@last"
"""The RUN that names the newest run; not the id of a run, because no id has an `@`."""

PREFIX_HELP: Final = "Prefix of all keys; client and workers must agree."


@asynccontextmanager
async def reach(url: str | None, *, at_rest: bool = False) -> AsyncGenerator[str]:
    """The URL to use: the one given, else that of the server that runs on the nearest `.playhead/`, else the default.

    A command that needs no worker (`at_rest`) finds the data that `demo` and `dev` left even if nothing runs: a server
    for that data runs as long as the command does. `url` may also name the folder of such data.

    Raises:
        LogUnavailableError: If the server of a named folder does not run, and the command needs one that stays; or if
            nothing was named or found, and the default cannot be reached.
    """
    named = None if url is None else folder_named(url)
    folder = data_folder() if url is None else named
    if url is not None and named is None:
        yield url
    elif folder is not None and (running := running_in(folder)) is not None:
        yield running
    elif folder is not None and at_rest and (named or not listening(DEFAULT_URL)) and _has_data(folder):
        async with EmbeddedServer.running(directory=folder) as server:
            typer.echo(f"(reading {folder}/ with a temporary server, because none is running)", err=True)
            yield server.url
    elif named:
        raise LogUnavailableError(f"no server runs on {folder}/; `playhead dev TARGET` starts one on {DATA_DIRECTORY}/")
    else:
        try:
            yield DEFAULT_URL
        except LogUnavailableError as error:
            raise with_places(error) from error.__cause__


def _has_data(folder: Path) -> bool:
    return (folder / "appendonlydir").is_dir()


def archive_in_use() -> str | None:
    """The archive that commands read too: a folder or a URL."""
    return os.environ.get("PLAYHEAD_ARCHIVE") or None


def file_of(run: str) -> tuple[str, str | None] | None:
    """The file that a RUN (`FILE` or `FILE#RUN`) names, and the run in it, if named. None if RUN is the id of a run."""
    path, _, run_id = run.partition("#")
    if path.endswith((".jsonl", ".jsonl.zst")) or "/" in path or os.sep in path or Path(path).is_file():
        return path, run_id or None
    return None


@asynccontextmanager
async def opened(
    run: str, url: str | None, prefix: str, *, on_notice: Callable[[Notice], None] | None = None
) -> AsyncGenerator[RunReader]:
    """Open the run that a RUN names: in a file, which needs no server, or on the server in use."""
    if (named := file_of(run)) is not None:
        with open_log(named[0]) as file:
            yield file.run(named[1])
        return
    async with reach(url, at_rest=True) as where:
        unopened = partial(Client, where, prefix=prefix, archive=archive_in_use())
        async with unopened() if on_notice is None else unopened(on_notice=on_notice) as client:
            yield await run_named(client, run)


async def run_named(client: Client, run: str) -> Run:
    """The run of a RUN that is not a file: an id, the beginning of one, or `NEWEST`."""
    if run != NEWEST:
        return await client.find_run(run)
    for info in await client.runs(limit=1):
        return client.run(info.run_id)
    raise RunNotFoundError("no runs yet; start one: playhead ask AGENT PROMPT")


async def run_pinned(run: str, url: str, prefix: str) -> str:
    """A RUN that always names the same run: the id of the newest one in place of `NEWEST`, else what was given.

    Raises:
        RunNotFoundError: If there is no run.
    """
    if run != NEWEST:
        return run
    async with Client(url, prefix=prefix) as client:
        return (await run_named(client, run)).id


def with_run(run: str, url: str | None, prefix: str, act: Callable[[RunReader], Awaitable[int]]) -> None:
    """Like `with_client`, with the run that a RUN names."""

    async def main() -> int:
        async with opened(run, url, prefix) as found:
            return await act(found)

    raise typer.Exit(anyio.run(main))


def with_client(url: str | None, prefix: str, act: Callable[[Client], Awaitable[int]]) -> None:
    """Call `act` with an open client and exit with its result. For commands that need no worker."""

    async def main() -> int:
        async with (
            reach(url, at_rest=True) as where,
            Client(where, prefix=prefix, archive=archive_in_use()) as client,
        ):
            return await act(client)

    raise typer.Exit(anyio.run(main))


def kept_here() -> str:
    """The option with which a command reads the data kept here; usually empty."""
    elsewhere = os.environ.get("PLAYHEAD_URL") or listening(DEFAULT_URL)
    return f" --url {DATA_DIRECTORY}" if elsewhere else ""
