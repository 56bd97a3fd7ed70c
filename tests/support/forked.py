"""`playhead` in a process that a fork server makes, with what a test uses of a `subprocess.Popen`.

It differs from the installed command in one thing: what it imports is there already (`command_program.py`). Tests of
that, and tests whose command starts copies of itself, start the installed one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO

from testkit.processes import ForkServer, fork_server

__all__ = ["Forked", "command_forks"]


class Forked:
    """A command that runs.

    Args:
        path: The socket of the fork server.
        stdin: As of `subprocess.Popen`, like `stdout` and `stderr`.

    Attributes:
        returncode: As of `subprocess.Popen`.
    """

    def __init__(
        self,
        path: str,
        arguments: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.returncode: int | None = None
        theirs: list[int] = []
        self.stdin = _stream(stdin, theirs, "wb")
        self.stdout = _stream(stdout, theirs, "rb")
        self.stderr = _stream(stderr, theirs, "rb")
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(path)
        config = {"program": "playhead", "log": f"{path}.log"}
        config |= {"arguments": list(arguments), "folder": str(folder), "env": dict(env)}
        self._link.sendall(json.dumps(config).encode() + b"\n")
        socket.send_fds(self._link, [b"\n"], theirs)
        for given, wanted in zip(theirs, (stdin, stdout, stderr), strict=True):
            if given != wanted:
                os.close(given)
        self._said = self._link.makefile("rb", buffering=0)  # so `select` sees what is not read yet
        self._said.readline()  # the id of the process that waits for this one
        self.pid = int(self._said.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code, negative after a signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("playhead", timeout or 0)
            self.returncode = int(self._said.readline())
            self._said.close()
            self._link.close()
        return self.returncode

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)


def _stream(wanted: int, theirs: list[int], mode: str) -> IO[bytes] | None:
    """Add the descriptor of the process's side to `theirs`; returns this side if `wanted` is a pipe."""
    if wanted == subprocess.DEVNULL:
        theirs.append(os.open(os.devnull, os.O_RDWR))
        return None
    if wanted != subprocess.PIPE:
        theirs.append(wanted)
        return None
    reading, writing = os.pipe()
    theirs.append(reading if mode == "wb" else writing)
    return open(writing if mode == "wb" else reading, mode, buffering=-1 if mode == "rb" else 0)


def command_forks() -> AbstractContextManager[ForkServer]:
    """A fork server of `playhead`."""
    return fork_server(playhead="tests.support.command_program:run")
