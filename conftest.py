"""Imported first in every test run, and in each of its processes: keeps what Python compiles, outside the source folders.

It also puts off garbage collection until the tests are collected (`tests/conftest.py`): of what is imported until then
almost nothing is garbage, and looking for it would take a fifth of that time.

Where the environment forbids bytecode files (`PYTHONDONTWRITEBYTECODE`, as containers often do), each process that a
test starts would compile all that it imports: a second of CPU for one command, and half the time of the whole suite.
Elsewhere Python keeps them beside the sources, as always.

A shell lets what a script starts with `&` ignore SIGINT, and so do all processes that it starts: then no test could stop
one as Ctrl-C does.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

__all__: list[str] = []

gc.disable()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.dont_write_bytecode:
    kept = str(Path(__file__).with_name(".pytest_cache") / "bytecode")
    sys.dont_write_bytecode, sys.pycache_prefix = False, kept
    os.environ["PYTHONPYCACHEPREFIX"] = kept  # for the processes that pytest and the tests start
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
