"""Helpers for tests of agents: recorded runs as fixtures.

    from playhead.client.testing import assert_replays

    def test_last_nights_run(recorded_run):
        assert_replays(agent, recorded_run("last_night.jsonl"))

`recorded_run` is a fixture of the pytest plugin, which is installed with this distribution.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from playhead.runtime.agent.factory import AgentSource, Make
from playhead.runtime.core.records import Entry
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.reading import read_all
from playhead.runtime.replay.rerun import rerun
from playhead.runtime.replay.verify import Half, verify

__all__ = ["RecordedRun", "assert_replays"]

T = TypeVar("T")


class RecordedRun:
    """A run in a file that `playhead export` wrote. Close it, or get it from the fixture `recorded_run`, which closes it.

    Attributes:
        path: The file.
        id: The run.
        log: The file, read as a log.
        refresh: Whether `assert_replays` records the run again instead of comparing it.
    """

    def __init__(self, path: str | Path, *, run_id: str | None = None, refresh: bool = False) -> None:
        """Open the file.

        Args:
            path: The file.
            run_id: The run; None if the file has only one.
            refresh: See the class.

        Raises:
            RunFileError: If it cannot be read, is not a file of runs, or was truncated or edited.
            RunNotFoundError: If the file has no such run.
            ValueError: If no run is named and the file has several.
        """
        self.path: Path = Path(path)
        self.refresh = refresh
        self.log: FileLog = FileLog(path)
        try:
            self.id: str = self.log.id_of(run_id, how=" with run_id=")
        except BaseException:
            self.log.close()
            raise

    def __repr__(self) -> str:
        return f"RecordedRun({str(self.path)!r}, run_id={self.id!r})"

    @cached_property
    def entries(self) -> list[Entry]:
        """The records of the run, with their positions. Loads all of them into memory."""
        return _here(self._entries)

    async def _entries(self) -> list[Entry]:
        info = await self.log.info(self.id)
        assert info is not None
        return await read_all(self.log, self.id, head=info.head)

    def close(self) -> None:
        """Close the file."""
        self.log.close()


def assert_replays(
    agent: AgentSource | Make,
    run: RecordedRun,
    *,
    tools: Half = "recorded",
    stubs: Sequence[object] = (),
    ignore: Collection[str] = (),
) -> None:
    """Fail unless the agent would do today what was recorded; see `verify`, which also explains the arguments.

    With `pytest --playhead-record` the agent runs for real on the recorded prompt instead, with its model and its tools,
    and the new run replaces the old one in the file.

    Raises:
        AssertionError: If something differs; the message is verify's diff.
        ValueError: If the run cannot be recorded again (see `rerun`), or its file has several runs.
    """
    __tracebackhide__ = True
    if run.refresh:
        _here(lambda: _record_again(agent, run))
        return
    found = _here(lambda: verify(run, agent, tools=tools, stubs=stubs, ignore=ignore))
    if not found.same:
        raise AssertionError(found.text)


async def _record_again(agent: AgentSource | Make, run: RecordedRun) -> None:
    if len(run.log.run_ids) != 1:
        raise ValueError(f"{run.path} has {len(run.log.run_ids)} runs; only a file of one run is recorded again")
    log, run_id = await rerun(run, agent)
    await export_runs(log, [run_id], run.path)


def _here(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine and return its result, whether or not an event loop runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, lambda: asyncio.run(call())).result()
