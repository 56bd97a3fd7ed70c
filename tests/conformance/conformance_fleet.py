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


@contextmanager
def running_fleet(folders: Sequence[Folder], *, url: str, requests: Path) -> Generator[Fleet]:
    """A fleet of one worker, under a key prefix of its own, for the length of a `with` block.

    Raises:
        RuntimeError: The worker did not announce itself, or did not end well when it was told to.
    """
    fleet = Fleet(url, f"conformance-{uuid4().hex[:8]}", requests)
    name = "conformance-worker"
    script = Path(__file__).resolve().parent / "conformance_worker.py"
    options = ["--url", url, "--prefix", fleet.prefix, "--name", name, "--requests", str(requests)]
    command = [sys.executable, "-W", "error", str(script), *options, *(str(folder.path) for folder in folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            anyio.run(_announced, fleet, name, process)
            yield fleet
            assert process.stdin
            process.stdin.close()
            status = process.wait(_STOP_S)
        finally:
            process.kill()  # does nothing to one that has ended
        if status:
            raise RuntimeError(f"the worker process ended with status {status}")


async def _announced(fleet: Fleet, name: str, process: subprocess.Popen[bytes]) -> None:
    with anyio.move_on_after(_START_S):
        async with Client(fleet.url, prefix=fleet.prefix) as client:
            while process.poll() is None:
                if name in [worker.worker for worker in await client.workers()]:
                    return
                await anyio.sleep(0.02)
    raise RuntimeError(f"the worker process did not announce itself (status {process.poll()})")
