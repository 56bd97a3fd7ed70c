"""The template of the programs: has everything imported, and becomes a worker or a viewer by a fork.

Its argument is the path of a socket. Each connection there starts one program, whose first line of input is its
configuration (JSON) and whose standard input and output the connection is from then on. A program ends when its
connection does, and so with the test; the template ends with its standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

import viewer_program
import worker_program

__all__: list[str] = []

PROGRAMS = {"worker": worker_program.run, "viewer": viewer_program.run}


def die_with_the_template() -> None:
    """A program that is paused reads no end of input; Linux can kill it all the same."""
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
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    os.dup2(os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    PROGRAMS[config["program"]](config)


def serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no code asks how they ended
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
                finally:
                    os._exit(1)
            connection.close()


serve(sys.argv[1])
