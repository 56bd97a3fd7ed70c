"""Runs `playhead` as a user does, in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

import anyio

from playhead.client import Client, Run
from playhead.runtime.core.records import Entry
from tests.support.forked import Forked

__all__ = [
    "PLAYHEAD",
    "SETTINGS",
    "Commands",
    "Finished",
    "Fleet",
    "Running",
    "entries_of",
    "gone",
    "lines_of",
    "state_of",
    "until_announced",
]

T = TypeVar("T")
LIMIT_S: Final = 40.0
"""For one command, or one line of it: a test that waits for ever fails here."""

PLAYHEAD: Final = str(Path(sysconfig.get_path("scripts")) / "playhead")
_OUR_CODE: Final = re.compile(r'File "[^"]*playhead/(runtime|workers|client)/')
"""In a traceback. One of only the user's code is what a worker logs when that code raises."""

SETTINGS: Final = ("PLAYHEAD_", "OPENAI_")
"""Read by a command when it runs, and by nothing when it is imported."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command that runs; its output is read as it comes.

    Attributes:
        process: The process, leader of a session of its own.
        out, err: The lines read so far, without their ends.
    """

    def __init__(self, process: subprocess.Popen[bytes] | Forked) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.Queue[tuple[list[str], str]] = queue.Queue()
        self._unseen: list[tuple[list[str], str]] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], lines: list[str]) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip("\n")
                lines.append(text)
                self._news.put((lines, text))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line, on either stream, in which `pattern` is found.

        What its stream said up to there is not looked at again; what the other one said is, because either of the two
        streams may be read first.
        """
        deadline = time.monotonic() + LIMIT_S
        looked_at = 0
        while True:
            for place, (stream, line) in enumerate(self._unseen[looked_at:], looked_at):
                if found := re.search(pattern, line):
                    before, after = self._unseen[:place], self._unseen[place + 1 :]
                    self._unseen = [*(one for one in before if one[0] is not stream), *after]
                    return found
            looked_at = len(self._unseen)
            try:
                self._unseen.append(self._news.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no line matched {pattern!r}; out {self.out}, err {self.err}") from None

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def wait(self) -> Finished:
        """Wait for its end, and check what holds for every command: no traceback of playhead's code, whatever happens."""
        code = self.process.wait(LIMIT_S)
        for reader in self._readers:
            reader.join(LIMIT_S)
        finished = Finished(code, "\n".join(self.out), "\n".join(self.err))
        assert not _OUR_CODE.search(finished.err), finished.err
        return finished

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait().code


class Commands:
    """Starts commands in `folder`, without this environment's playhead and OpenAI settings.

    Args:
        forks: The socket of a fork server that makes processes of `playhead`; None to start the installed command.
    """

    def __init__(self, folder: Path, forks: str | None = None) -> None:
        self.folder = folder
        self.forks = forks
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        self.environment |= {"PLAYHEAD_MODEL": "demo", "COLUMNS": "200"}
        self._started: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait(LIMIT_S)

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> Running:
        """Start any command."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            start_new_session=True,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        return self._runs(process)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **streams: int) -> Running:
        """Start `playhead`; `streams` as for `spawn`.

        With an `env` that Python or a package may read when it is imported, it is the installed command.
        """
        if self.forks is None or any(not name.startswith(SETTINGS) for name in env or {}):
            return self.installed(*arguments, env=env, **streams)
        environment = {**self.environment, **(env or {})}
        return self._runs(Forked(self.forks, arguments, self.folder, environment, **streams))

    def installed(self, *arguments: str, **more: Any) -> Running:
        """Start the installed `playhead`; `more` as for `spawn`."""
        return self.spawn([PLAYHEAD, *arguments], **more)

    def _runs(self, process: subprocess.Popen[bytes] | Forked) -> Running:
        running = Running(process)
        self._started.append(running)
        return running

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run `playhead` to its end."""
        return self.start(*arguments, env=env).wait()

    def python(self, *arguments: str, **more: Any) -> Running:
        """Start Python; `more` as for `spawn`."""
        return self.spawn([sys.executable, *arguments], **more)


@dataclass(frozen=True)
class Fleet:
    """A server with one worker process."""

    url: str
    worker: Running


def until_announced(url: str) -> None:
    """Wait until the log knows a live worker: it says that it serves just before that."""

    async def workers() -> int:
        async with Client(url) as client:
            return len(await client.workers())

    deadline = time.monotonic() + LIMIT_S
    while not anyio.run(workers):
        assert time.monotonic() < deadline, "no worker is announced"


async def _with_run(url: str, run_id: str, ask: Callable[[Run], Awaitable[T]]) -> T:
    with anyio.fail_after(LIMIT_S):
        async with Client(url) as client:
            return await ask(client.run(run_id))


def entries_of(url: str, run_id: str) -> list[Entry]:
    """The run's records up to its end, read through the client."""

    async def read(run: Run) -> list[Entry]:
        return [entry async for entry in run.records()]

    return anyio.run(_with_run, url, run_id, read)


def lines_of(url: str, run_id: str, *, after: str = "0") -> list[dict[str, Any]]:
    """What `--json` promises to print for the run: its events by the Python interface, each with its place."""

    async def read(run: Run) -> list[dict[str, Any]]:
        return [
            {
                "run": event.run_id,
                "cursor": event.cursor,
                "seq": event.seq,
                "at": event.at,
                "event": json.loads(event.to_json()),
            }
            async for event in run.stream_async(after=after)
        ]

    return anyio.run(_with_run, url, run_id, read)


def state_of(url: str, run_id: str) -> str:
    """The run's state now."""

    async def read(run: Run) -> str:
        return (await run.info()).state

    return anyio.run(_with_run, url, run_id, read)


def gone(pid: int) -> bool:
    """Whether the process has ended, or ends within a few seconds. It is not a child of this process."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if not _lives(pid):
            return True
        time.sleep(0.02)
    return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except OSError:  # no /proc here, or gone in between
        return not Path("/proc/self").exists()
    return stat.rpartition(")")[2].split()[0] != "Z"  # ended, and its new parent has not looked yet
