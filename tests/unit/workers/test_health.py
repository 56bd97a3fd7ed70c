"""A worker's health file is as old as the last answer for work, and `playhead health` tells it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import anyio
import pytest
import typer
from typer.testing import CliRunner, Result

from playhead.workers.asking import Asking
from playhead.workers.health import Health, HealthFile, HealthOfProcesses, read_health
from playhead.workers.probe import health

__all__: list[str] = []

OFTEN = 0.01
"""The interval of the files of these tests, in seconds: each waits for several."""


def one(name: str = "w", *, ago_s: float = 0.0, running: int = 1, draining: bool = False) -> Health:
    asked = time.time_ns() // 1_000_000 - round(ago_s * 1000)
    return Health(worker=name, state="draining" if draining else "serving", running=running, concurrency=4, asked=asked)


def probe(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(health)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@asynccontextmanager
async def kept(file: HealthFile, *, looked: Callable[[], Health | None]) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(file.run, looked)
        yield
        tasks.cancel_scope.cancel()


async def appears(path: Path) -> None:
    with anyio.fail_after(10):
        while not path.exists():  # noqa: ASYNC110 - a file gives no signal
            await anyio.sleep(0.01)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_with_a_free_slot_must_be_answered_both_its_questions() -> None:
    clock = Clock()
    asking = Asking(clock)
    assert asking.answered_at(draining=False) is None
    asking.heard()
    assert asking.answered_at(draining=False) is None
    asking.claimed()
    clock.now = 9.0
    asking.heard()
    assert asking.answered_at(draining=False) == 0.0, "its claims are no longer answered"
    assert asking.answered_at(draining=True) == 9.0, "a worker that drains claims nothing"


def test_a_worker_without_a_free_slot_has_nothing_to_claim_and_must_claim_when_it_has_one() -> None:
    clock = Clock()
    asking = Asking(clock)
    asking.claimed()
    with asking.full():
        clock.now = 100.0
        asking.heard()
        assert asking.answered_at(draining=False) == 100.0
    assert asking.answered_at(draining=False) == 100.0, "the claim that is now due is not late yet"
    clock.now = 200.0
    asking.heard()
    assert asking.answered_at(draining=False) == 100.0


@pytest.mark.anyio
async def test_the_file_has_the_time_of_the_last_answer_and_goes_with_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.write_text("left by a worker that was killed")
    file = HealthFile(path)
    assert not path.exists()
    silent = one(ago_s=20.0)
    async with kept(file, looked=lambda: silent):
        await appears(path)
        assert read_health(path) == [silent]
        assert path.stat().st_mtime == pytest.approx(silent.asked / 1000, abs=0.001)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.anyio
async def test_nothing_is_written_before_the_first_answer(tmp_path: Path) -> None:
    answers: list[Health | None] = [None, one()]
    path = tmp_path / "health"
    async with kept(
        HealthFile(path, interval=OFTEN), looked=lambda: answers.pop(0) if len(answers) > 1 else answers[0]
    ):
        await appears(path)
        assert answers == [read_health(path)[0]]


@pytest.mark.anyio
async def test_a_file_that_can_no_longer_be_written_grows_old_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "folder" / "health"
    path.parent.mkdir()
    file = HealthFile(path, interval=OFTEN)
    path.parent.rmdir()
    tries = 0

    def looked() -> Health:
        nonlocal tries
        tries += 1
        return one()

    async with kept(file, looked=looked):
        with anyio.fail_after(10):
            while tries < 3:  # noqa: ASYNC110 - a file gives no signal
                await anyio.sleep(0.01)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"the health file {path} cannot be written" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="signals and modes of POSIX")
def test_a_place_where_no_file_can_be_written_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "health"):
        with pytest.raises(ValueError, match="cannot be written"):
            HealthFile(place)
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(ValueError, match="cannot be written: it is not a regular file"):
        HealthFile(pipe)
    assert pipe.is_fifo(), "a device or a pipe is left as it is"
    with pytest.raises(ValueError, match="cannot be written"):
        HealthOfProcesses(tmp_path / "no" / "health", processes=2)


@pytest.mark.anyio
async def test_the_file_of_several_processes_is_as_old_as_the_most_silent_of_them(tmp_path: Path) -> None:
    path = tmp_path / "health"
    both = HealthOfProcesses(path, processes=2, interval=OFTEN)
    draining = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(both.run, is_draining=lambda: draining))
        first, second = one("first"), one("second", ago_s=7.0)
        async with kept(HealthFile(both.part(0)), looked=lambda: first):
            await appears(both.part(0))
            assert not path.exists(), "the second has not been answered yet"
            async with kept(HealthFile(both.part(1)), looked=lambda: second):
                await appears(path)
                assert read_health(path) == [first, second]
                assert path.stat().st_mtime == pytest.approx(second.asked / 1000, abs=0.001)
            draining = True
            with anyio.fail_after(10):
                while read_health(path) != [first]:  # noqa: ASYNC110 - a file gives no signal
                    await anyio.sleep(0.01)
        both.part(0).write_text("left by a process that was killed")
        tasks.cancel_scope.cancel()
    assert [*tmp_path.iterdir()] == []


def written(path: Path, *workers: Health) -> Path:
    """The file as the workers write it."""
    path.write_text("".join(json.dumps(asdict(worker)) + "\n" for worker in workers))
    oldest = min(worker.asked for worker in workers) / 1000
    os.utime(path, (oldest, oldest))
    return path


def test_a_worker_that_asked_recently_is_healthy(tmp_path: Path) -> None:
    told = probe(written(tmp_path / "health", one("w-1", running=3)))
    assert told.exit_code == 0
    assert told.output.startswith("healthy: worker w-1 asked for work 0.")
    assert told.output.endswith(" s ago; 3 of 4 places taken\n")
    drains = probe(written(tmp_path / "health", one("w-1", draining=True), one("w-2")))
    assert (drains.exit_code, "each of 2 workers" in drains.output, "it drains" in drains.output) == (0, True, True)


@pytest.mark.parametrize("ago_s", [31.0, -3600.0])
def test_one_that_did_not_is_not_nor_one_whose_file_is_of_the_future(tmp_path: Path, ago_s: float) -> None:
    told = probe(written(tmp_path / "health", one("w-1", ago_s=ago_s), one("w-2", ago_s=ago_s / 2)))
    assert told.exit_code == 1
    assert told.output.startswith("unhealthy: worker w-")
    older = probe(written(tmp_path / "health", one("w-1", ago_s=31.0)), "--max-age", 60)
    assert older.exit_code == 0


def test_a_file_that_is_missing_or_of_something_else_is_unhealthy_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for text in ("", "hello\n", '{"worker": "w"}\n'):
        other.write_text(text)
        told = probe(other)
        assert (told.exit_code, "is not a health file" in told.output, told.output.count("\n")) == (1, True, 1)
    missing = probe(tmp_path / "missing")
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert "No such file or directory; the worker starts, has ended, or has no --health-file" in missing.output
