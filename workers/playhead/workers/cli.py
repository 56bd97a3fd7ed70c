"""The commands of the worker package: `playhead worker` and `playhead dev`."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from playhead.runtime.agent.serving import Served
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.redis.connection import DEFAULT_URL
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.shards import MAX_SHARDS
from playhead.runtime.log.values import DEFAULT_CRASH_LIMIT, DEFAULT_LEASE_MS
from playhead.runtime.messages import yield_to_configuration
from playhead.runtime.targets import load_served
from playhead.workers.archiver import check_kept_for_the_archive
from playhead.workers.dev_server import DATA, DEV_PORT, server_of_dev
from playhead.workers.exit import take_over_stdin
from playhead.workers.health import HealthOfProcesses, prepare
from playhead.workers.log_output import LogFormat, LogLevel, print_lines
from playhead.workers.options import WorkerOptions
from playhead.workers.process import bury, run_worker
from playhead.workers.reload import source_changes, source_folders
from playhead.workers.retention import RetentionOptions, retention_of_texts
from playhead.workers.supervisor import Supervisor, how_it_ended

__all__ = ["dev", "worker"]

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET",
        help="module:attribute or path/to/file.py:attribute; without an attribute, every Agent and factory.",
    ),
]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Runs held at once, per process.")]
Processes = Annotated[
    int, typer.Option("--processes", metavar="N", min=1, help="Worker processes; one that dies is restarted.")
]
Lease = Annotated[
    float,
    typer.Option("--lease", metavar="SECONDS", min=2.0, help="Seconds until a silent worker's runs are taken over."),
]
Safety = Annotated[Durability, typer.Option("--durability", help="Where records must be before they count as stored.")]
CrashLimit = Annotated[
    int,
    typer.Option(
        "--crash-limit", metavar="N", min=0, help="Workers in a row that may die with a run that does not get on."
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(
        "--shards", metavar="N", min=1, max=MAX_SHARDS, help="Shards of the deployment. Default: those it has, else 1."
    ),
]
Level = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level", help="What is logged. Default: info, or what the agents' own logging configuration says."
    ),
]
Format = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", help="Of the lines on stderr, unless the agents' own logging configuration formats them."
    ),
]
Traceback = Annotated[bool, typer.Option("--traceback", help="If a TARGET cannot be loaded, show the whole traceback.")]
Retention = Annotated[
    list[str] | None,
    typer.Option(
        "--retention", metavar="[AGENT:STATE=]TIME", help="How long ended runs are kept: 12h, support:failed=30d."
    ),
]
ArchivePlace = Annotated[
    str | None,
    typer.Option(
        "--archive",
        metavar="ARCHIVE",
        envvar="PLAYHEAD_ARCHIVE",
        help="Archive ended runs: a folder, or a URL such as s3://bucket/runs.",
    ),
]
HealthPath = Annotated[
    str | None,
    typer.Option(
        "--health-file", metavar="FILE", help="File to write for health checks: as old as the last answer for work."
    ),
]
Drain = Annotated[
    float,
    typer.Option("--drain", metavar="SECONDS", min=0.0, help="Seconds a stopping worker lets runs reach a boundary."),
]


def worker(
    targets: Targets,
    url: Annotated[
        str,
        typer.Option(
            "--url", metavar="URL", envvar="PLAYHEAD_URL", help="Redis to use: redis://user:password@host:port/db"
        ),
    ] = DEFAULT_URL,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="PREFIX", envvar="PLAYHEAD_PREFIX", help="Prefix of all keys.")
    ] = "ph",
    concurrency: Concurrency = 100,
    processes: Processes = 1,
    lease: Lease = DEFAULT_LEASE_MS / 1000,
    drain: Drain = 20.0,
    crash_limit: CrashLimit = DEFAULT_CRASH_LIMIT,
    durability: Safety = "memory",
    retention: Retention = None,
    archive: ArchivePlace = None,
    shards: Shards = None,
    health_file: HealthPath = None,
    stop_with_stdin: Annotated[bool, typer.Option("--stop-with-stdin", hidden=True)] = False,
    mark: Annotated[str | None, typer.Option("--mark", hidden=True, help="The end of the worker's name.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only; as --log-level error.")] = False,
    log_level: Level = None,
    log_format: Format = "text",
    show_traceback: Traceback = False,
) -> None:
    """Run agents until SIGTERM or Ctrl-C; then hand over what is running, and end."""
    level: LogLevel | None = "error" if quiet else log_level
    print_lines(level=level, form=log_format)
    parent = take_over_stdin() if stop_with_stdin else None  # before any code of the agents can start a child
    kept = retention_of_texts(retention or ())
    _check_archive(archive, kept)
    if health_file is not None:
        prepare(health_file)
    agents = _loaded(targets, show_traceback=show_traceback)
    if processes == 1:
        options = WorkerOptions(
            concurrency=concurrency, lease_ms=round(lease * 1000), grace_s=drain, crash_limit=crash_limit, **kept
        )
        run_worker(
            list(agents.values()),
            url=url,
            prefix=prefix,
            durability=durability,
            shards=shards,
            options=options,
            parent=parent,
            mark=mark,
            archive=archive,
            health_file=health_file,
        )
        return
    os.environ["PLAYHEAD_URL"] = url  # not among the arguments, which every user of the machine can read
    arguments = [*targets, "--prefix", prefix, "--concurrency", str(concurrency)]
    arguments += [
        "--lease",
        str(lease),
        "--drain",
        str(drain),
        "--crash-limit",
        str(crash_limit),
        "--durability",
        durability,
        *_shards_option(shards),
        *_retention_options(retention),
        *_logging_options(level, log_format),
    ]
    died = partial(bury, url=url, prefix=prefix)
    health = None if health_file is None else HealthOfProcesses(health_file, processes=processes)
    anyio.run(_supervise, Supervisor(arguments, processes=processes, died=died, health=health))


def _loaded(targets: list[str], *, show_traceback: bool) -> dict[str, Served]:
    """The agents, by name; from now on the logging that their files configure counts."""
    try:
        return load_served(targets)
    except PlayheadError as error:
        if show_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise
    finally:
        yield_to_configuration()


def _logging_options(level: LogLevel | None, form: LogFormat) -> list[str]:
    return [*([] if level is None else ["--log-level", level]), "--log-format", form]


def _check_archive(archive: str | None, kept: RetentionOptions) -> None:
    """Refuse what each worker process would refuse, before any is started. They find the archive in their environment."""
    options = WorkerOptions(**kept)
    if archive is not None:
        check_kept_for_the_archive(options)
        Archive(archive)
        os.environ["PLAYHEAD_ARCHIVE"] = archive


def _retention_options(retention: list[str] | None) -> list[str]:
    return [part for text in retention or () for part in ("--retention", text)]


def _shards_option(shards: int | None) -> list[str]:
    return [] if shards is None else ["--shards", str(shards)]


async def _supervise(supervisor: Supervisor, *beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the supervisor until it ends, and what goes on beside it until then."""
    code: int | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_drain_on_signal, supervisor, tasks.cancel_scope)
        for task in beside:
            tasks.start_soon(task)
        code = await supervisor.run()
        tasks.cancel_scope.cancel()
    if code is not None:
        typer.echo(
            f"playhead: a worker process {how_it_ended(code)}, for the reason above: a restart cannot fix it", err=True
        )
        raise typer.Exit(code)


async def _restart_on_changes(supervisor: Supervisor, changes: AsyncGenerator[list[Path], None]) -> None:
    async with aclosing(changes):
        async for files in changes:
            typer.echo(f"changed  {', '.join(file.name for file in files)}: the workers start again")
            supervisor.restart()


async def _drain_on_signal(supervisor: Supervisor, now: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            supervisor.drain()
            break
        async for _ in signals:
            now.cancel()


def dev(
    targets: Targets,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help=f"Of the server; 0 is any. Default: {DEV_PORT} if it is free.",
        ),
    ] = None,
    concurrency: Concurrency = 100,
    processes: Processes = 1,
    lease: Lease = DEFAULT_LEASE_MS / 1000,
    drain: Drain = 5.0,
    crash_limit: CrashLimit = DEFAULT_CRASH_LIMIT,
    retention: Retention = None,
    archive: ArchivePlace = None,
    shards: Shards = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart the workers when a Python file changes.")] = False,
    log_level: Level = None,
    log_format: Format = "text",
    show_traceback: Traceback = False,
) -> None:
    """Develop: a server that keeps its data in .playhead/, and workers. Ctrl-C ends both."""
    print_lines(level=log_level, form=log_format)
    _check_archive(archive, retention_of_texts(retention or ()))
    agents = _loaded(targets, show_traceback=show_traceback)
    arguments = [*targets, "--concurrency", str(concurrency), "--lease", str(lease), "--drain", str(drain)]
    arguments += [
        "--crash-limit",
        str(crash_limit),
        *_retention_options(retention),
        *_shards_option(shards),
        *_logging_options(log_level, log_format),
    ]
    changes = source_changes(source_folders(targets)) if reload else None
    anyio.run(partial(_dev, arguments, names=list(agents), port=port, processes=processes, changes=changes))


async def _dev(
    arguments: list[str],
    *,
    names: list[str],
    port: int | None,
    processes: int,
    changes: AsyncGenerator[list[Path], None] | None,
) -> None:
    async with server_of_dev(port) as kept:
        server = kept.now
        os.environ["PLAYHEAD_URL"] = server.url
        place = "" if server.directory is None else f", data in {DATA}/"
        typer.echo(f"server   {server.kind} at {server.url}{place}")
        if server.notice:
            typer.echo(f"         {server.notice}")
        typer.echo(f"workers  {processes}, serving {', '.join(names)}")
        typer.echo(f'try      playhead ask {names[0]} "What is 17 * 23?"')
        typer.echo("         (in this folder, in another terminal)")
        typer.echo("\nIn another folder, first:")
        typer.echo(f"export PLAYHEAD_URL={server.url}")
        died = partial(bury, url=server.url, prefix=os.environ.get("PLAYHEAD_PREFIX") or "ph")
        supervisor = Supervisor(arguments, processes=processes, died=died, reloads=changes is not None)
        beside = [] if changes is None else [partial(_restart_on_changes, supervisor, changes)]
        await _supervise(supervisor, kept.keep_running, *beside)
        if server.directory is not None:
            typer.echo("stopped; the data is kept")
