"""The frame of the command line: its commands, errors and exit codes.

Exit codes: 0 done; 1 the run failed; 2 wrong usage; 3 the run was cancelled; 4 a run differs; 130 interrupted (the run
goes on); for playhead's own errors the `exit_code` of their class, taken from sysexits.h: 64 usage, 65 data, 66 not
found, 69 no server, 75 no worker serves the agent, 77 refused credentials, 78 configuration.
"""

from __future__ import annotations

import io
import sys

import typer

from playhead.client.cli.commands import LazyGroup
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.messages import log_to_stderr

__all__ = ["app", "run"]

app: typer.Typer = typer.Typer(
    name="playhead",
    cls=LazyGroup,
    help="Run LLM agents on a fleet, watch them from anywhere, and look at any run again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes longer to import than all else that `--help` needs
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"playhead {version('playhead-client')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    show_version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Run LLM agents on a fleet, watch them from anywhere, and look at any run again."""
    del show_version


def run() -> None:
    """Run the command line. Every error is one line on stderr and an exit code, never a traceback."""
    log_to_stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal cannot show must not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except PlayheadError as error:
        _stop(str(error), error.exit_code)
    except ValueError as error:
        _stop(str(error), 64)
    except KeyboardInterrupt:
        sys.exit(130)


def _stop(message: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"playhead: {message}\n")
    sys.exit(code)
