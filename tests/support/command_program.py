"""`playhead` in a process that has imported it before: what a fork server runs for each command.

A command that is installed imports the same modules for half a second of CPU each time it starts.
"""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from io import TextIOWrapper
from typing import Any, cast

from playhead.client.cli.app import run as _imported
from playhead.client.main import main
from testkit.fork_server import die_with_the_parent

__all__ = ["run"]

del _imported  # `main` imports it when it is called: too late here


def run(config: dict[str, Any]) -> None:
    """Start the command and tell what a parent knows of it: its process id, and at its end the exit code.

    Args:
        config: `arguments`, `folder` and `env` of the command. Its standard input, output and error are three
            descriptors that come with the byte after the configuration.
    """
    with socket.socket(fileno=os.dup(0)) as link:
        _, standard, _, _ = socket.recv_fds(link, 1, 3)
    pid = os.fork()
    if pid == 0:
        _become(config, standard)
    for given in standard:
        os.close(given)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def _become(config: dict[str, Any], standard: list[int]) -> None:
    """The command, in the leader of a new session; raises `SystemExit` as the command does."""
    die_with_the_parent()
    os.setsid()
    for number, given in enumerate(standard):
        os.dup2(given, number)
        os.close(given)
    sys.stdin, sys.stdout, sys.stderr = (_text(number) for number in range(3))
    os.chdir(config["folder"])
    os.environ.clear()
    os.environ.update(config["env"])
    sys.path[0] = sysconfig.get_path("scripts")
    sys.argv = ["playhead", *config["arguments"]]
    main()


def _text(number: int) -> TextIOWrapper:
    """A standard stream on its new descriptor, with the settings that Python has given the old one."""
    old = cast("TextIOWrapper", (sys.stdin, sys.stdout, sys.stderr)[number])
    made = open(number, old.mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
    new = cast("TextIOWrapper", made)
    new.reconfigure(line_buffering=number == 2 or new.isatty(), write_through=old.write_through)
    return new
