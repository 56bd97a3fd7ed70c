"""The commands of `playhead`: what `--help` says of each, and where its code is, which is imported when it is called.

All the code together takes more than a second of CPU to import, which `--help`, `--version` and a completion must not cost.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from playhead.runtime.core.errors import PlayheadError

__all__ = ["COMMANDS", "COMPLETE_VARIABLE", "Home", "LazyGroup", "NotInstalledError", "load"]


class NotInstalledError(PlayheadError):
    """The command is of a distribution that is not installed."""

    exit_code = 78


class Home(NamedTuple):
    """Where a command is.

    Attributes:
        module: The module that has its function.
        function: The function's name, or that of a group of commands.
        help: How its docstring begins, which the list of commands shows.
        needs: The package of another distribution that it needs; empty for none.
    """

    module: str
    function: str
    help: str
    needs: str = ""


COMPLETE_VARIABLE: Final = "_PLAYHEAD_COMPLETE"
"""Environment variable: a shell sets it to what it wants to complete."""

_CLI: Final = "playhead.client.cli"
_WORKERS: Final = "playhead.workers"
_DISTRIBUTION: Final = {_WORKERS: "playhead-workers"}

COMMANDS: Final[Mapping[str, Home]] = {
    "demo": Home(f"{_CLI}.watch", "demo", "Run an agent with nothing installed or running.", _WORKERS),
    "dev": Home(
        f"{_WORKERS}.cli", "dev", "Develop: a server that keeps its data in .playhead/, and workers.", _WORKERS
    ),
    "worker": Home(f"{_WORKERS}.cli", "worker", "Run agents until SIGTERM or Ctrl-C.", _WORKERS),
    "health": Home(f"{_WORKERS}.probe", "health", "Tell whether a worker asked for work recently.", _WORKERS),
    "ask": Home(f"{_CLI}.watch", "ask", "Submit a run and watch it."),
    "tail": Home(f"{_CLI}.watch", "tail", "Rejoin a run after a cursor and watch it to its end."),
    "replay": Home(f"{_CLI}.play", "replay", "Play a past run again on its recorded clock."),
    "respond": Home(f"{_CLI}.control", "respond", "Respond to the questions of a paused run."),
    "steer": Home(f"{_CLI}.control", "steer", "Send a message to a running run."),
    "cancel": Home(f"{_CLI}.control", "cancel", "Stop a run."),
    "runs": Home(f"{_CLI}.runs", "runs", "List the newest runs."),
    "show": Home(f"{_CLI}.look", "show", "Show what a run did."),
    "rm": Home(f"{_CLI}.remove", "rm", "Delete runs that have ended."),
    "sessions": Home(f"{_CLI}.sessions", "sessions", "List the sessions, the last used first."),
    "session": Home(f"{_CLI}.sessions", "session", "Show, delete, trim or copy a conversation."),
    "verify": Home(f"{_CLI}.verify", "verify", "Check today's code of an agent against recorded runs."),
    "fork": Home(f"{_CLI}.fork", "fork", "Start a new run with the first records of another one."),
    "diff": Home(f"{_CLI}.compare", "diff", "Compare two runs."),
    "workers": Home(f"{_CLI}.look", "workers", "List the live workers and what they serve."),
    "doctor": Home(
        f"{_CLI}.doctor", "doctor", "Check the servers, their settings, the user's rights and the fleet, or a run."
    ),
    "export": Home(f"{_CLI}.files", "export", "Write runs to a file."),
    "import": Home(f"{_CLI}.files", "import_file", "Store the runs of a file in Redis."),
    "check": Home(f"{_CLI}.files", "check", "Look for secrets in a file of runs."),
    "archive": Home(f"{_CLI}.files", "archive", "Write ended runs to an archive, each one once."),
    "completion": Home(f"{_CLI}.completion", "completion", "Print the lines with which a shell completes `playhead`."),
}


def load(name: str) -> Any:
    """The command of this name, with its options; imports its code.

    Raises:
        NotInstalledError: Its distribution is not installed; the message says what to install.
    """
    home = COMMANDS[name]
    if missing := _missing(home):
        raise NotInstalledError(
            f"`playhead {name}` is a command of {missing}, which is not installed: pip install {missing}"
        )
    found = getattr(import_module(home.module), home.function)
    if isinstance(found, typer.Typer):  # a group of commands
        return typer.main.get_command(found)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)


def _missing(home: Home) -> str:
    """The distribution that has to be installed before the command can be called; empty if none."""
    there = not home.needs or importlib.util.find_spec(home.needs) is not None
    return "" if there else _DISTRIBUTION[home.needs]


def _listed(name: str) -> TyperCommand:
    """A command as the list of commands needs it: without its code."""
    home = COMMANDS[name]
    missing = _missing(home)
    return TyperCommand(name, help=f"Not installed: pip install {missing}" if missing else home.help)


class LazyGroup(TyperGroup):
    """The commands, each imported when it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands.update({name: _listed(name) for name in COMMANDS})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is called, and its arguments; refuses an unknown name with the names that are like it."""
        name, command, rest = super().resolve_command(ctx, args)
        completing = ctx.resilient_parsing  # what is not installed has nothing to complete
        if name is None or (completing and _missing(COMMANDS[name])):
            return name, command, rest
        return name, load(name), rest
