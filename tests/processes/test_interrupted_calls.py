"""Ctrl-C in a call that is not async."""

from __future__ import annotations

import signal
import subprocess
import sys

__all__: list[str] = []

PROGRAM = """
import anyio
from playhead.runtime.concurrency import run_apart

async def call():
    print("begun", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)

try:
    run_apart(call)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    import sys
    sys.stdin.readline()
"""


def test_ctrl_c_ends_the_wait_and_cancels_the_call() -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        program.send_signal(signal.SIGINT)
        assert {program.stdout.readline() for _ in range(2)} == {"interrupted\n", "cancelled\n"}
        program.communicate("\n", timeout=60)
    assert program.returncode == 0
