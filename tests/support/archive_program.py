"""Archives runs in one process after the other, each of which is killed one step later than the one before.

Its argument is the folder of the archive. A step is a change of the file system there: a folder made, a file opened to be
written, a file renamed. Each process first reads the archive, alone and beside the log, and says what is there as a line of
JSON. The log is in memory, with the same runs in each process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing

import anyio
import zstandard  # noqa: F401 - here, and not in each process  # pyright: ignore[reportUnusedImport]

from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.archive.archiving import archive_runs
from playhead.runtime.log.archive.log import ArchivedLog
from playhead.runtime.log.memory import MemoryLog
from tests.contract.test_log_import_contract import ended_run, entries, pages

__all__: list[str] = []

RUNS = ("a", "b")
FOLDER = sys.argv[1] if __name__ == "__main__" else ""


async def full() -> MemoryLog:
    log = MemoryLog()
    for run_id in RUNS:
        await log.import_run(ended_run(run_id), pages(entries()))
    return log


async def archive() -> None:
    with closing(Archive(FOLDER)) as made:
        async for _ in archive_runs(await full(), made):
            pass


async def told() -> None:
    with closing(Archive(FOLDER)) as made:
        both, alone = ArchivedLog(await full(), made), ArchivedLog(MemoryLog(), made)
        listed = [info.run_id for info in await alone.runs()]
        whole = [await alone.read_encoded(run_id) == entries() for run_id in listed]
        print(json.dumps({"both": [info.run_id for info in await both.runs()], "alone": listed, "whole": whole}))
        sys.stdout.flush()


def die_at(step: int) -> None:
    """Kill this process before its change number `step`."""
    left = step

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        path = str(arguments[0]) if arguments else ""
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1] != "rb"
        if path.startswith(FOLDER) and (writes or event in ("os.rename", "os.mkdir")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_a_child(step: int) -> int:
    """Tell what is there and archive, in a process that is killed at that step. Returns how it ended."""
    pid = os.fork()
    if pid == 0:
        anyio.run(told)
        die_at(step)
        anyio.run(archive)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    step = 1
    while (code := in_a_child(step)) == -signal.SIGKILL:
        step += 1
    in_a_child(step)  # it has nothing to do
    print(json.dumps({"steps": step, "code": code}))


if __name__ == "__main__":
    main()
