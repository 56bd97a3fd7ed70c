"""Processes to be injured: started by a fork server, sent lines, paused and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio

__all__ = ["ForkServer", "Process", "fork_server"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_START_S: Final = 30.0
_LONGEST_LINE: Final = 1 << 20


class Process:
    """A process that writes lines of JSON.

    Its socket is read by asyncio. In anyio 4 the event loop logs an error if the reader of a UNIX socket is cancelled in
    the turn in which something arrives.

    Attributes:
        ended: Set when `read` has reached the end of its output.
    """

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.ended = anyio.Event()
        self._reader = reader
        self._writer = writer

    async def next_line(self) -> Any:
        """Read the next line and return its value.

        Raises:
            anyio.IncompleteRead: If the process has ended.
        """
        return json.loads(await _next_line(self._reader))

    async def read(self, on_line: Callable[[Any], None]) -> None:
        """Pass every further line to `on_line`; returns when the process has ended."""
        with suppress(anyio.IncompleteRead):
            while True:
                on_line(await self.next_line())
        self.ended.set()

    async def tell(self, line: str) -> None:
        """Write a line to its input; do nothing if it has ended."""
        if not self._writer.is_closing():
            await _send(self._writer, line)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended: its id may belong to another process by then."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, paused or not."""
        self.signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill it if it has not ended."""
        self.kill()
        self.ended.set()
        await _close(self._writer)


class ForkServer:
    """Starts processes; see `fork_server.py`.

    Attributes:
        path: Its socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    async def start(self, program: str, *, log: Path, **config: Any) -> Process:
        """Start a process of that program, and return when it runs.

        Args:
            log: The file to which its standard error is appended.
            config: Its configuration, which must have a JSON form.

        Raises:
            anyio.IncompleteRead: If it has ended before it wrote its id.
            TimeoutError: If it has not done so within 30 seconds.
        """
        reader, writer = await asyncio.open_unix_connection(self.path, limit=_LONGEST_LINE)
        try:
            with anyio.fail_after(_START_S):
                await _send(writer, json.dumps({"program": program, "log": str(log), **config}))
                return Process(int(await _next_line(reader)), reader, writer)
        except BaseException:
            await _close(writer)
            raise


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise anyio.IncompleteRead from error


async def _send(writer: asyncio.StreamWriter, line: str) -> None:
    """Send a line, or nothing if the other side has ended."""
    writer.write(line.encode() + b"\n")
    with suppress(ConnectionError):
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close the socket at once, whatever was not sent."""
    writer.transport.abort()
    with anyio.CancelScope(shield=True), suppress(ConnectionError):
        await writer.wait_closed()


@contextmanager
def fork_server(**programs: str) -> Generator[ForkServer]:
    """Run a fork server during the block; its processes end with it.

    Args:
        programs: The function that each program runs, as `module:function`.

    Raises:
        RuntimeError: If it did not start; the message has its output.
    """
    with TemporaryDirectory(prefix="ph") as folder:  # a short path: a socket's has 107 characters at most
        path = f"{folder}/socket"
        words = [f"{name}={function}" for name, function in programs.items()]
        command = [sys.executable, "-m", "testkit.fork_server", path, *words]
        # In its own session: only this process gets Ctrl-C, and it ends the others in order.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, start_new_session=True
        ) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != b"ready\n":
                    raise RuntimeError(f"the fork server of {', '.join(programs)} did not start")
                yield ForkServer(path)
            finally:
                process.kill()
