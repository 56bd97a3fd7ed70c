"""The frame of the command line: its commands, errors and exit codes.

Exit codes: 0 done; 1 the run failed; 2 wrong usage; 3 the run was cancelled; 4 a run differs; 130 interrupted (the run
goes on); for playhead's own errors the `exit_code` of their class, taken from sysexits.h: 64 usage, 65 data, 66 not
found, 69 no server, 75 no worker serves the agent, 77 refused credentials, 78 configuration.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points, version

import typer

from playhead.client.cli import compare, control, files, look, play, watch
from playhead.client.cli.doctor import doctor
from playhead.client.cli.fork import fork
from playhead.client.cli.verify import verify
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.messages import log_to_stderr

__all__ = ["app", "run"]

app: typer.Typer = typer.Typer(
    name="playhead",
    help="Run LLM agents on a fleet, watch them from anywhere, and look at any run again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"playhead {version('playhead-client')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    show_version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """The options of `playhead` itself."""
    del show_version


for _name, _command in {
    "demo": watch.demo,
    "ask": watch.ask,
    "tail": watch.tail,
    "replay": play.replay,
    "respond": control.respond,
    "steer": control.steer,
    "cancel": control.cancel,
    "runs": look.runs,
    "show": look.show,
    "verify": verify,
    "fork": fork,
    "diff": compare.diff,
    "workers": look.workers,
    "doctor": doctor,
    "export": files.export,
    "import": files.import_file,
    "check": files.check,
}.items():
    app.command(_name)(_command)

# Commands of other installed parts (`worker`, `dev`): a client alone offers no commands that cannot work.
for _point in entry_points(group="playhead.commands"):
    app.command(_point.name)(_point.load())


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
