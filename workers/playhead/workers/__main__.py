"""`python -m playhead.workers TARGET…`: a worker process, as `playhead worker` and `playhead dev` start it."""

from __future__ import annotations

import sys

import typer

from playhead.runtime.core.errors import PlayheadError
from playhead.workers.cli import worker

__all__: list[str] = []


def _main() -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(worker)
    try:
        app()
    except PlayheadError as error:
        sys.stderr.write(f"playhead: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
