"""`playhead health`: tells a supervisor or an orchestrator whether a worker asks for work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from playhead.workers.health import Health, age_s, read_health

__all__ = ["health"]

_AHEAD_S: Final = 5.0
"""How far a file may be in the future: its time is of a clock that may be set."""


def health(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the worker was given as --health-file.")],
    max_age: Annotated[
        float,
        typer.Option("--max-age", metavar="SECONDS", min=1.0, help="Seconds since the worker last asked for work."),
    ] = 30.0,
) -> None:
    """Tell whether a worker asked for work recently: exit 0 if it did, else 1."""
    try:
        workers = read_health(file)
    except (OSError, ValueError) as error:
        reason = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
        typer.echo(f"unhealthy: {reason}; the worker starts, has ended, or has no --health-file {file}")
        raise typer.Exit(1) from None
    age = age_s(workers)
    if -_AHEAD_S <= age <= max_age:
        typer.echo(f"healthy: {_told(workers, age=max(0.0, age))}")
        return
    silent = min(workers, key=lambda one: one.asked)
    typer.echo(
        f"unhealthy: worker {silent.worker} last asked for work {age:.1f} s ago, over {max_age:g} s: it is dead, stopped, "
        "blocked or cut off from Redis; its log says which"
    )
    raise typer.Exit(1)


def _told(workers: Sequence[Health], *, age: float) -> str:
    held, places = sum(one.running for one in workers), sum(one.concurrency for one in workers)
    name = f"worker {workers[0].worker}" if len(workers) == 1 else f"each of {len(workers)} workers"
    drains = "; it drains" if any(one.state == "draining" for one in workers) else ""
    return f"{name} asked for work {age:.1f} s ago; {held} of {places} places taken{drains}"
