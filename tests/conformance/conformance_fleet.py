"""Starts and stops the worker process that hosts the scenarios' agents."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import anyio
from conformance_scenarios import Folder

from playhead.client import Client

__all__ = ["Fleet", "running_fleet"]

_START_S: Final = 30.0
_STOP_S: Final = 10.0


@dataclass(frozen=True)
class Fleet:
    """A worker in a process of its own, and where it is found.

    Attributes:
        requests: The folder in which the worker writes what each scenario's model was asked, as `<id>.jsonl`.
    """

    url: str
    prefix: str
    requests: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise RuntimeError if the worker has ended, so that not every test waits for it in vain."""
        if (status := self.process.poll()) is not None:
            raise RuntimeError(f"the worker process has ended with status {status}; its output says why")


@contextmanager
def running_fleet(folders: Sequence[Folder], *, url: str, requests: Path) -> Generator[Fleet]:
    """A fleet of one worker, under a key prefix of its own, for the length of a `with` block.

    Raises:
        RuntimeError: The worker ended by itself, or not well when it was told to.
        TimeoutError: It did not announce itself.
    """
    prefix = f"conformance-{uuid4().hex[:8]}"
    name = "conformance-worker"
    script = Path(__file__).resolve().parent / "conformance_worker.py"
    options = ["--url", url, "--prefix", prefix, "--name", name, "--requests", str(requests)]
    command = [sys.executable, "-W", "error", str(script), *options, *(str(folder.path) for folder in folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        fleet = Fleet(url, prefix, requests, process)
        try:
            anyio.run(_announced, fleet, name)
            yield fleet
            assert process.stdin
            process.stdin.close()
            process.wait(_STOP_S)
        finally:
            process.kill()  # does nothing to one that has ended
        if process.returncode:
            raise RuntimeError(f"the worker process ended with status {process.returncode}")


async def _announced(fleet: Fleet, name: str) -> None:
    with anyio.fail_after(_START_S):
        async with Client(fleet.url, prefix=fleet.prefix) as client:
            while name not in [worker.worker for worker in await client.workers()]:
                fleet.check()
                await anyio.sleep(0.02)
