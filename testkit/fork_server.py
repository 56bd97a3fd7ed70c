"""The fork server: it has imported some programs, and becomes one of them by a fork for each connection.

    python -m testkit.fork_server SOCKET NAME=MODULE:FUNCTION ...

A connection to the socket is the standard input and output of one process. Its first line is the configuration (JSON):
`program`, one of the names; `log`, the file to which its standard error is appended; and any keys of the program. The
process writes its id as its first line and calls the function with the configuration. It may leave by `SystemExit`: it
then ends as any Python program does. The fork server ends with its standard input; on Linux, all processes that it has
started end then, paused or not.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Program", "die_with_the_parent", "serve"]

Program = Callable[[dict[str, Any]], None]
"""The function that a process runs to its end; the argument is its configuration."""


def die_with_the_parent() -> None:
    """Called by a new process. A paused one does not notice the end of its input; Linux can kill it nevertheless."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _first_line() -> str:
    """Read the first line of standard input and nothing after it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.decode()


def _become(programs: Mapping[str, Program], connection: socket.socket) -> None:
    """Run the program that the connection names; called only in a new child process."""
    die_with_the_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard in (0, 1):
        os.dup2(connection.fileno(), standard)
    connection.close()
    config: dict[str, Any] = json.loads(_first_line())
    os.dup2(os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    print(os.getpid(), flush=True)
    programs[config["program"]](config)


def serve(path: str, programs: Mapping[str, Program]) -> None:
    """Serve connections to the socket `path` until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # their exit codes are not read
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                try:
                    _become(programs, connection)
                except SystemExit:
                    raise
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
                    os._exit(1)
                os._exit(0)
            connection.close()


def _loaded(name: str) -> Program:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    serve(
        sys.argv[1], {name: _loaded(function) for name, _, function in (word.partition("=") for word in sys.argv[2:])}
    )
