"""The frame of the command line: its commands, errors and exit codes.

Exit codes: 0 done; 1 the run failed; 2 wrong usage; 3 the run was cancelled; 4 a run differs; 130 interrupted (the run
goes on); for playhead's own errors the `exit_code` of their class, taken from sysexits.h: 64 usage, 65 data, 66 not
found, 69 no server, 74 output that cannot be written, 75 no worker serves the agent, 77 refused credentials, 78 configuration.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final

import typer
from typer.completion import completion_init  # pyright: ignore[reportPrivateImportUsage] - it has no other place in all versions

from playhead.client.cli.commands import COMPLETE_VARIABLE, LazyGroup
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.messages import log_to_stderr

__all__ = ["app", "run"]

_EXIT_IO: Final = 74

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
    _open_what_is_closed()
    log_to_stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal cannot show must not end the command
            stream.reconfigure(errors="backslashreplace")
    if COMPLETE_VARIABLE in os.environ:
        completion_init()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here an error is told; at the interpreter's end it would be a traceback
    except PlayheadError as error:
        _stop(str(error), error.exit_code)
    except ValueError as error:
        _stop(str(error), 64)
    except BrokenPipeError:  # the reader has enough, and need not be told
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _stop(_told(error), _EXIT_IO)


def _open_what_is_closed() -> None:
    """Put the null device in the place of a standard stream that was closed, as by `<&-`.

    Otherwise the next file or connection gets its number, and is read or written in its place. Standard input is then
    one that cannot be read: to read nothing, for example as a prompt, would hide what is wrong.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process runs


def _told(error: OSError) -> str:
    """What could not be read or written, in words."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else f"cannot write the output: {reason}"


def _drop_output() -> None:
    """Write what is still to be written, or drop it where that cannot be: the interpreter's end would try it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(message: str, code: int) -> None:
    """Print the reason and exit."""
    _drop_output()
    with contextlib.suppress(OSError):
        sys.stderr.write(f"playhead: {message}\n")
        sys.stderr.flush()
    sys.exit(code)
