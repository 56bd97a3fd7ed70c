"""Programs in processes of their own, which a test starts, talks to, kills and pauses."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from playhead.client import Client, Run
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import Entry
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from testkit.processes import ForkServer, Process, fork_server

__all__ = ["LEASE_MS", "Program", "Programs", "Watcher", "events_in", "everything", "program_forks"]

LEASE_MS = 2000
LIMIT_S = 20.0


class Program:
    """A running program that writes lines of JSON, each with what it `said`."""

    def __init__(self, process: Process, log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

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
        return await self._process.next_line()

    async def lines_until(self, word: str) -> list[dict[str, Any]]:
        """The lines of a viewer, up to the event of this word."""
        lines: list[dict[str, Any]] = []
        while not lines or lines[-1].get("event", {}).get("data") != word:
            lines.append(await self.next_line())
        return lines

    async def rest(self) -> list[dict[str, Any]]:
        """All lines to its end."""
        lines: list[dict[str, Any]] = []
        await self._process.read(lines.append)
        return lines

    @property
    def logged(self) -> str:
        """What it has written to its own log so far."""
        return self._log.read_text()

    async def tell(self, word: str) -> None:
        """Write a line to its input."""
        await self._process.tell(word)

    async def kill(self) -> list[dict[str, Any]]:
        """`kill -9`; returns when it has ended, with the lines that were not read yet."""
        self._process.kill()
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
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on and does not know that it was stopped."""
        self._process.signal(signal.SIGCONT)

    async def close(self) -> None:
        """Kill it if it has not ended."""
        await self._process.aclose()


def events_in(lines: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """(cursor, event) of each event in the lines of a viewer."""
    return [(line["cursor"], line["event"]) for line in lines if line["said"] == "event"]


async def everything(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """(cursor, event) of each event of a run, as a viewer that never left sees them."""
    return [(event.cursor, dict(event)) async for event in run.stream_async()]


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

    def __init__(
        self, forks: ForkServer, url: str, prefix: str, folder: Path, started: list[Program] | None = None
    ) -> None:
        self.url = url
        self.prefix = prefix
        self._effects = folder / "effects"
        self._forks = forks
        self._folder = folder
        self._started: list[Program] = [] if started is None else started

    def at(self, url: str) -> Programs:
        """The same on another server."""
        return Programs(self._forks, url, self.prefix, self._folder, self._started)

    async def worker(
        self,
        *,
        hold: str = "",
        sleep: str = "",
        die: str = "",
        die_at: int | None = None,
        die_when: str = "after",
        die_of: str = "",
        durability: str = "memory",
        **options: Any,
    ) -> Program:
        """A worker that waits at `hold`, is stopped at `sleep`, dies at `die`, or as it stores record `die_at`.

        Returns when it is ready. `hold` may name several places, `word 5, word 9`; each `go` opens the next.
        """
        settings = {"lease_ms": LEASE_MS, "grace_s": 5.0, **options}
        config = {"effects": str(self._effects), "hold": hold, "sleep": sleep, "die": die, "durability": durability}
        config |= {"die_at": die_at, "die_when": die_when, "die_of": die_of}
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
        log = self._folder / f"{program}.{len(self._started)}.log"
        process = await self._forks.start(program, log=log, url=self.url, prefix=self.prefix, **config)
        made = Program(process, log)
        self._started.append(made)
        await made.hears("ready")
        return made

    async def close(self) -> None:
        for program in self._started:
            await program.close()

    def effects(self) -> list[str]:
        """What the tools of all workers have done, in order."""
        return self._effects.read_text().splitlines() if self._effects.exists() else []

    async def expire_lease(self, run: Run) -> None:
        """As if the lease of the run's owner, which is dead, had run out now: saves the test the wait."""
        await self.ask("ZADD", f"{{{self.prefix}:0}}:leases", "XX", 1, run.id)

    async def expire_leases(self) -> None:
        """As `expire_lease`, for every run."""
        key = f"{{{self.prefix}:0}}:leases"
        for run_id in await self.ask("ZRANGE", key, 0, -1):
            await self.ask("ZADD", key, "XX", 1, run_id)

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


def program_forks() -> AbstractContextManager[ForkServer]:
    """A fork server of the worker and the viewer."""
    return fork_server(worker="tests.support.worker_program:run", viewer="tests.support.viewer_program:run")
