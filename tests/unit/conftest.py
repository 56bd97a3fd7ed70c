"""A unit test starts no process and opens no connection: what would do so is an error here."""

from __future__ import annotations

import sys
from typing import Any

import pytest

__all__: list[str] = []

FORBIDDEN = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "socket.bind",
        "socket.connect",
        "subprocess.Popen",
    }
)
"""Audit events of Python. `socket.socketpair` is allowed: each event loop has one."""


class Guard:
    """Raises an error for what is forbidden while a unit test runs. An audit hook can never be removed."""

    def __init__(self) -> None:
        self.active = False
        sys.addaudithook(self.on_event)

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        """Called by Python for each event of the process."""
        if self.active and event in FORBIDDEN:
            raise RuntimeError(f"a test in tests/unit does {event}{args}: it belongs to tests/integration")


GUARD = Guard()


@pytest.fixture(autouse=True)
def no_process_no_connection():
    """Active in each test below this folder, and nowhere else."""
    GUARD.active = True
    yield
    GUARD.active = False
