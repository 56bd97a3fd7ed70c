"""The injured processes from outside: starts them, sends them lines, and kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["Process", "Template"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_START_S: Final = 30.0


class Process:
    """One process. `run` must be awaited in a task: it reads what the process writes, until its end."""

    def __init__(self, link: SocketStream, pid: int, lines: BufferedByteReceiveStream) -> None:
        self.pid = pid
        self.ended = anyio.Event()
        self._link = link
        self._lines = lines

    async def run(self, on_line: Callable[[Any], None]) -> None:
        """Pass every line of JSON that it writes to `on_line`; returns at its end. Cancelled, it kills the process."""
        try:
            with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                while True:
                    on_line(json.loads(await self._lines.receive_until(b"\n", 1 << 20)))
        except BaseException:
            self.kill()
            raise
        finally:
            self.ended.set()
            with anyio.CancelScope(shield=True):
                await self._link.aclose()

    async def tell(self, value: Any) -> None:
        """Send it one line; do nothing if it has ended."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._link.send(json.dumps(value).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended: its id may belong to another process by then."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, paused or not."""
        self.signal(signal.SIGKILL)


class Template:
    """Starts processes; see `template.py`."""

    def __init__(self, path: str, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._started = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, path: str, folder: Path) -> AsyncGenerator[Template, None]:
        """Run a template during the block, listening on the socket `path`; the processes' logs go into `folder`."""
        command = [sys.executable, "-m", "chaos.template", path]
        # In its own session: only this process gets Ctrl-C, and it ends the others in order.
        process = await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, cwd=_ROOT, start_new_session=True
        )
        try:
            assert process.stdout is not None
            with anyio.fail_after(_START_S):
                await process.stdout.receive()
            yield cls(path, folder)
        finally:
            with anyio.CancelScope(shield=True):
                process.kill()
                await process.wait()
                await process.aclose()

    async def start(self, program: str, **config: Any) -> Process:
        """Start a process of that program; returns when it runs."""
        self._started += 1
        log = str(self._folder / f"{self._started:04}-{program}.log")
        link = await anyio.connect_unix(self._path)
        await link.send(json.dumps({"program": program, "log": log, **config}).encode() + b"\n")
        lines = BufferedByteReceiveStream(link)
        with anyio.fail_after(_START_S):
            return Process(link, int(await lines.receive_until(b"\n", 100)), lines)
