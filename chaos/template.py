"""The template of the chaos' processes: has everything imported, and becomes a worker or a viewer by a fork, in no time.

Its argument is the path of a socket. Each connection there starts one process, whose first line of input is its
configuration (JSON) and whose standard input and output the connection is from then on. The template ends with its
standard input, and with it, on Linux, whatever it has become, paused or not.
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
    """A process that is paused reads no end of input; Linux can kill it all the same."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def become(connection: socket.socket) -> None:
    """Be the program that the connection asks for; only ever called in a fresh child."""
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
    """Answer connections until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
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
