"""The health file of a worker: its time of modification is when the worker last asked for work and was answered.

So any program that can read a file's age is a health check. The worker's event loop writes the file, so it grows old
if the worker is stopped, blocked or dead, and also if Redis does not answer: the file is then still written, with the old
time. Several processes have a file each, which their supervisor merges into one: the oldest time of all.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import anyio

__all__ = ["Health", "HealthFile", "HealthOfProcesses", "age_s", "prepare", "read_health"]

logger: logging.Logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How one worker is. The health file has one as JSON on each line, one for each process.

    Attributes:
        worker: Its name.
        state: `draining` from the request to end it on.
        running: The runs that it holds.
        concurrency: The runs that it can hold.
        asked: When it last asked for work and was answered, in unix milliseconds by this machine's clock.
    """

    worker: str
    state: Literal["serving", "draining"]
    running: int
    concurrency: int
    asked: int


def read_health(path: Path) -> list[Health]:
    """What a health file says.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a health file.
    """
    try:
        found = [Health(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a health file of a worker: {error}") from error
    if not found:
        raise ValueError(f"{path} is not a health file of a worker: it is empty")
    return found


def _write(path: Path, workers: Sequence[Health]) -> None:
    """Replace the file whole, so that a reader never sees a part of it, or a new file with a wrong time."""
    new = path.with_name(f".{path.name}.new")
    new.write_text("".join(json.dumps(asdict(one)) + "\n" for one in workers), encoding="utf-8")
    asked = min(one.asked for one in workers) * 1_000_000
    os.utime(new, ns=(asked, asked))
    os.replace(new, path)


def prepare(path: str | Path) -> Path:
    """Check the place of a health file, and remove one that another worker left.

    Raises:
        ValueError: If no file can be written there.
    """
    file = Path(path)
    if file.exists() and not file.is_file():  # a device such as /dev/null, which root could remove
        raise ValueError(f"the health file {file} cannot be written: it is not a regular file")
    try:
        file.unlink(missing_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.touch()
        new.unlink()
    except OSError as error:
        raise ValueError(f"the health file {file} cannot be written: {error.strerror}") from error
    return file


class _Writing:
    """Writes one health file every `interval` seconds in a thread of its own, because a disk that hangs must not block the loop.

    An error is logged once, and the file grows old.
    """

    def __init__(self, path: str | Path, interval: float) -> None:
        self.path: Path = prepare(path)
        self._interval = interval
        self._told = False

    async def keep(self, look: Callable[[], Sequence[Health]]) -> None:
        """Write what `look` returns until cancelled, then remove the file. Nothing is written while it returns nothing."""
        alone = anyio.CapacityLimiter(1)  # the shared threads may all be taken by tools
        try:
            while True:
                if workers := look():
                    await anyio.to_thread.run_sync(self._replace, workers, limiter=alone, abandon_on_cancel=True)
                await anyio.sleep(self._interval)
        finally:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _replace(self, workers: Sequence[Health]) -> None:
        try:
            _write(self.path, workers)
        except OSError as error:
            if not self._told:
                logger.warning("the health file %s cannot be written, so it grows old: %s", self.path, error)
            self._told = True
        else:
            self._told = False


class HealthFile:
    """The health file of one worker, written every `interval` seconds.

    Raises ValueError if no file can be written there.
    """

    def __init__(self, path: str | Path, *, interval: float = _INTERVAL_S) -> None:
        self._writing = _Writing(path, interval)

    async def run(self, look: Callable[[], Health | None]) -> None:
        """Keep the file up to date until cancelled, then remove it. `look` returns None before the first answer."""

        def looked() -> list[Health]:
            health = look()
            return [] if health is None else [health]

        await self._writing.keep(looked)


class HealthOfProcesses:
    """The health file of several worker processes, merged from theirs every `interval` seconds.

    Raises ValueError if none can be written there.
    """

    def __init__(self, path: str | Path, *, processes: int, interval: float = _INTERVAL_S) -> None:
        self._writing = _Writing(path, interval)
        self._parts = [Path(f"{self._writing.path}.{number}") for number in range(1, processes + 1)]

    def part(self, number: int) -> Path:
        """The file that process `number`, from 0 on, writes."""
        return self._parts[number]

    async def run(self, *, is_draining: Callable[[], bool]) -> None:
        """Merge until cancelled, then remove all files.

        A process without a file is starting or has died, and the merged file grows old meanwhile. While all drain, it has
        ended, and counts no longer.
        """

        def looked() -> list[Health]:
            found = [_read(part) for part in self._parts]
            known = [health for lines in found for health in lines]
            return known if is_draining() or all(found) else []

        try:
            await self._writing.keep(looked)
        finally:
            for part in self._parts:  # of processes that were killed
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def _read(path: Path) -> list[Health]:
    with suppress(OSError, ValueError):
        return read_health(path)
    return []


def age_s(workers: Sequence[Health]) -> float:
    """How long ago the worker that is silent for longest last asked, by this machine's clock, in seconds."""
    return time.time_ns() / 1e9 - min(one.asked for one in workers) / 1000
