"""What `conftest.py` beside this file forbids in unit tests is an error, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

__all__: list[str] = []


def test_a_unit_test_starts_no_process():
    with pytest.raises(RuntimeError, match=r"does subprocess\.Popen.*belongs to tests/integration"):
        subprocess.run([sys.executable, "-c", ""], check=False)
    with pytest.raises(RuntimeError, match=r"does os\.posix_spawn"):
        os.posix_spawn("/bin/true", ["true"], {})


def test_a_unit_test_opens_no_connection_and_listens_to_none():
    with socket.socket() as link:
        with pytest.raises(RuntimeError, match=r"does socket\.connect"):
            link.connect(("127.0.0.1", 9))
        with pytest.raises(RuntimeError, match=r"does socket\.bind"):
            link.bind(("127.0.0.1", 0))


def test_a_unit_test_may_have_an_event_loop():
    asyncio.run(asyncio.sleep(0))
