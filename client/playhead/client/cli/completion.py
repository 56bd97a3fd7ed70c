"""`playhead completion`: what makes a shell complete the commands, options and values of `playhead`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # pyright: ignore[reportPrivateImportUsage] - it has no other place in all versions

from playhead.client.cli.commands import COMPLETE_VARIABLE

__all__ = ["Shell", "completion"]


class Shell(StrEnum):
    """A shell that `playhead` can be completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the lines with which a shell completes `playhead`: its commands, their options, and values."""
    typer.echo(get_completion_script(prog_name="playhead", complete_var=COMPLETE_VARIABLE, shell=shell.value))
