"""Programs in processes of their own, which a test starts, talks to, kills and pauses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from playhead.client import Client, Run
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import Entry
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog

__all__: list[str] = []

LEASE_MS = 2000
LIMIT_S = 20.0


class Program:
    """A running program that writes lines of JSON."""

    def __init__(self, link: SocketStream, log: Path) -> None:
        self.pid = 0
        self._log = log
        self._ended = False
        self._link = link
        self._said = BufferedByteReceiveStream(link)

    async def hears(self, what: str) -> dict[str, Any]:
        """Wait until it writes `what`; returns the whole line. Lines before it are left out."""
        with anyio.fail_after(LIMIT_S):
            while (line := await self.next_line())["said"] != what:
                pass
        return line

    async def next_line(self) -> dict[str, Any]:
        """The next line.

        Raises:
            anyio.IncompleteRead: It has ended.
        """
        return json.loads(await self._said.receive_until(b"\n", 1 << 20))

    async def rest(self) -> list[dict[str, Any]]:
        """All lines to its end."""
        lines: list[dict[str, Any]] = []
        with suppress(anyio.IncompleteRead, anyio.BrokenResourceError):
            while True:
                lines.append(await self.next_line())
        self._ended = True
        return lines

    @property
    def logged(self) -> str:
        """What it has written to its own log so far."""
        return self._log.read_text()

    async def tell(self, word: str) -> None:
        """Write a line to its input."""
        await self._link.send(f"{word}\n".encode())

    async def kill(self) -> list[dict[str, Any]]:
        """`kill -9`; returns when it has ended, with the lines that were not read yet."""
        os.kill(self.pid, signal.SIGKILL)
        return await self.rest()

    @property
    def alive(self) -> bool:
        """Whether its process exists."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    def pause(self) -> None:
        """As when its machine sleeps."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on and does not know that it was stopped."""
        os.kill(self.pid, signal.SIGCONT)

    async def close(self) -> None:
        """Kill it if it has not ended."""
        if self.pid and not self._ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        await self._link.aclose()


class Watcher:
    """Watches a run by one iterator, in a task, and keeps what it saw."""

    def __init__(self, run: Run) -> None:
        self.events: list[Event] = []
        self.error: RunFailedError | None = None
        self._run = run
        self._grown = anyio.Event()

    async def watch(self) -> None:
        """To the run's end."""
        try:
            async for event in self._run.stream_async():
                self.events.append(event)
                self._grown.set()
                self._grown = anyio.Event()
        except RunFailedError as error:
            self.error = error

    async def saw(self, *, times: int = 1, **items: Any) -> None:
        """Wait for an event with these items, or for so many of them."""
        while sum(items.items() <= event.items() for event in self.events) < times:
            await self._grown.wait()

    @property
    def streamed(self) -> str:
        """All text as it came, what was withdrawn later included."""
        return "".join(event["data"] for event in self.events if "data" in event)

    @property
    def text(self) -> str:
        """The text without what each `retracted` event withdraws."""
        pieces: list[tuple[int, str]] = []
        for event in self.events:
            if "data" in event:
                pieces.append((event.seq, event["data"]))
            elif "retracted" in event:
                first, last = event["from_seq"], event["to_seq"]
                assert "".join(text for seq, text in pieces if first <= seq <= last) == event["text"]
                pieces = [(seq, text) for seq, text in pieces if not first <= seq <= last]
        return "".join(text for _, text in pieces)

    @property
    def retracted(self) -> list[str]:
        """The texts withdrawn."""
        return [event["text"] for event in self.events if "retracted" in event]

    async def assert_saw_everything_once(self) -> None:
        """The events that it saw over all faults are those that a fresh reader sees."""
        cursors = [event.cursor for event in self.events]
        assert len(set(cursors)) == len(cursors)
        fresh = Watcher(self._run)
        await fresh.watch()
        assert fresh.events == self.events
        assert [event.cursor for event in fresh.events] == cursors


class Programs:
    """The programs of one test, on one prefix of one server."""

    def __init__(self, template: str, url: str, prefix: str, folder: Path) -> None:
        self.url = url
        self.prefix = prefix
        self._effects = folder / "effects"
        self._template = template
        self._folder = folder
        self._programs: list[Program] = []

    def at(self, url: str) -> Programs:
        """The same on another server."""
        there = Programs(self._template, url, self.prefix, self._folder)
        there._programs = self._programs
        return there

    async def worker(
        self,
        *,
        hold: str = "",
        sleep: str = "",
        die: str = "",
        die_at: int | None = None,
        die_when: str = "after",
        durability: str = "memory",
        **options: Any,
    ) -> Program:
        """A worker that waits at `hold`, is stopped at `sleep`, dies at `die`, or as it stores record `die_at`.

        Returns when it is ready. `hold` may name several places, `word 5, word 9`; each `go` opens the next.
        """
        settings = {"lease_ms": LEASE_MS, "grace_s": 5.0, **options}
        config = {"effects": str(self._effects), "hold": hold, "sleep": sleep, "die": die, "durability": durability}
        config |= {"die_at": die_at, "die_when": die_when}
        return await self._start("worker", options=settings, **config)

    @asynccontextmanager
    async def client(self, *, limit_s: float = LIMIT_S) -> AsyncGenerator[Client]:
        """An open client in this process; its block has a time limit."""
        with anyio.fail_after(limit_s):
            async with Client(self.url, prefix=self.prefix, on_notice=lambda notice: None) as client:
                yield client

    def watcher(self, run: Run) -> Watcher:
        """One that has not begun to watch."""
        return Watcher(run)

    @asynccontextmanager
    async def watching(self, run: Run) -> AsyncGenerator[Watcher]:
        """Watch `run` in a task meanwhile; the block ends with the run."""
        watcher = self.watcher(run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watcher.watch)
            yield watcher

    async def viewer(self, run: Run, *, after: str | None = None) -> Program:
        """A client that watches `run`; returns when it is about to."""
        return await self._start("viewer", run=run.id, after=after)

    async def _start(self, program: str, **config: Any) -> Program:
        log = self._folder / f"{program}.{len(self._programs)}.log"
        made = Program(await anyio.connect_unix(self._template), log)
        self._programs.append(made)
        await made.tell(
            json.dumps({"program": program, "log": str(log), "url": self.url, "prefix": self.prefix, **config})
        )
        made.pid = (await made.hears("ready"))["pid"]
        return made

    async def close(self) -> None:
        for program in self._programs:
            await program.close()

    def effects(self) -> list[str]:
        """What the tools of all workers have done, in order."""
        return self._effects.read_text().splitlines() if self._effects.exists() else []

    async def expire_lease(self, run: Run) -> None:
        """As if the lease of the run's owner, which is dead, had run out now: saves the test the wait."""
        await self.ask("ZADD", f"{{{self.prefix}:0}}:leases", "XX", 1, run.id)

    async def ask(self, *command: Any) -> Any:
        """The server's reply to one command, on a connection of its own."""
        async with RedisLog(connect(self.url), prefix=self.prefix).client as client:
            return await client.execute_command(*command)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what other processes do, which can give no signal."""
        with anyio.fail_after(LIMIT_S):
            while not await holds():  # noqa: ASYNC110
                await anyio.sleep(0.01)

    async def dense_entries(self, run: Run) -> list[Entry]:
        """The run's records, whose numbers have no hole, as a fresh reader gets them."""
        entries = [entry async for entry in run.records()]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert entries[-1].seq == (await run.info()).head
        epochs = [entry.epoch for entry in entries]
        assert epochs == sorted(epochs)
        return entries


@pytest.fixture(scope="session")
def template() -> Iterator[str]:
    """The path where programs are started; see `template.py`."""
    with TemporaryDirectory(prefix="ph") as folder:  # a short path: a socket's has 107 characters at most
        path = f"{folder}/template"
        command = [sys.executable, str(Path(__file__).parent / "template.py"), path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield path
            process.stdin.close()


@pytest.fixture
async def programs(template: str, redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[Programs]:
    """Starts programs; none outlives the test."""
    made = Programs(template, redis_url, prefix, tmp_path)
    try:
        yield made
    finally:
        await made.close()
