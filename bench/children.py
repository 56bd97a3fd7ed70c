"""The child processes of the bench. Each has one role, exchanges lines of JSON with its parent, and ends with it.

    parent: {"ask": "snapshot", ...}      child: one line with the answer

A child ends when its standard input ends, so it also ends if the parent is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["LONGEST_LINE", "Child", "Role", "Talk", "child", "cpu_seconds", "rss_bytes"]

_ROOT = Path(__file__).resolve().parents[1]
LONGEST_LINE: Final = 1 << 26
_END_S = 5.0


class Talk:
    """The child's side: reads the questions one at a time and answers each."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def questions(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the parent's questions until standard input ends."""
        while line := await self._reader.readline():
            yield json.loads(line)

    def answer(self, value: Any = None) -> None:
        """Answer the current question."""
        print(json.dumps(value), flush=True)


Role = Callable[[dict[str, Any], Talk], Awaitable[None]]
"""The function that a child runs: gets its configuration and its `Talk`, and ends after the last question."""


class Child:
    """The parent's side: `ask`, and wait for the answer."""

    def __init__(self, process: Process, role: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._role = role
        self._questions = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)

    async def ask(self, question: str, **details: Any) -> Any:
        """Ask a question and return the child's answer. Raises RuntimeError if the child has ended."""
        try:
            await self._questions.send(json.dumps({"ask": question, **details}).encode() + b"\n")
            return json.loads(await self._answers.receive_until(b"\n", LONGEST_LINE))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            raise RuntimeError(f"the {self._role} process ended while it was asked to {question}") from error


@asynccontextmanager
async def child(role: Role, config: Mapping[str, Any], *, uvloop: bool) -> AsyncGenerator[Child, None]:
    """Run `role`, a function of a module, in its own process during the block."""
    name = f"{role.__module__}:{getattr(role, '__name__', '')}"
    command = [sys.executable, "-m", "bench.child", name, json.dumps(dict(config)), "uvloop" if uvloop else "asyncio"]
    process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, cwd=_ROOT)
    try:
        yield Child(process, name)
    finally:
        with anyio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with anyio.move_on_after(_END_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


def cpu_seconds() -> float:
    """The CPU seconds that this process has used: all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_bytes() -> int:
    """The memory that this process uses now (Linux), or elsewhere its maximum so far."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
