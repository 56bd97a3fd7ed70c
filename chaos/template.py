"""The template of the chaos' processes: it has imported everything, and forks workers and viewers at once.

Its argument is the path of a socket. Each connection to it starts one process. The connection becomes the process's
standard input and output, and its first line is the configuration (JSON). The template ends with its standard input;
on Linux, all processes it has started then end too, paused or not.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any

from chaos import programs

__all__: list[str] = []

PROGRAMS = {"worker": programs.worker, "viewer": programs.viewer}


def die_with_the_template() -> None:
    """A paused process does not notice the end of its input; Linux can kill it nevertheless."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def become(connection: socket.socket) -> None:
    """Run the program that the connection names; called only in a new child process."""
    die_with_the_template()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard in (0, 1):
        os.dup2(connection.fileno(), standard)
    connection.close()
    config: dict[str, Any] = json.loads(os.read(0, 1 << 16))
    log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    print(os.getpid(), flush=True)
    PROGRAMS[config["program"]](config)


def serve(path: str) -> None:
    """Serve connections until standard input ends."""
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
                    become(connection)
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
                    os._exit(1)
                os._exit(0)
            connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
