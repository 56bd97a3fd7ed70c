"""The entry point of the `playhead` command, which says what to install if the command line's packages are missing."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the process exits with its exit code (see `cli.app`)."""
    try:
        from playhead.client.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.stderr.write(f"playhead: the command line needs {error.name}: pip install 'playhead-client[cli]'\n")
        sys.exit(78)
    except KeyboardInterrupt:  # during the imports
        sys.exit(130)
    run()
