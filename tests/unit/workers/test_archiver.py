"""A worker archives its runs as they end, and one of the fleet's workers what others did not; trouble holds up no run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.log.archive.archive import Archive
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import EncodedEntry, RunInfo, WorkerInfo
from playhead.workers.archiver import Archiver, check_kept_for_the_archive
from playhead.workers.options import WorkerOptions
from tests.contract.test_log_import_contract import ended_run, entries, pages

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOUR = 3_600_000


async def log_of(*run_ids: str, log: MemoryLog | None = None) -> MemoryLog:
    log = log or MemoryLog()
    for run_id in run_ids:
        assert await log.import_run(ended_run(run_id), pages(entries()))
    return log


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(10):
        while not await holds():  # noqa: ASYNC110
            await anyio.sleep(0.005)


@asynccontextmanager
async def running(*logs: MemoryLog, archive: Archive, **options: Any) -> AsyncGenerator[Archiver]:
    archiver = Archiver(logs, archive, worker="w1", again_s=0.01, **options)
    with closing(archive):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(archiver.run)
            yield archiver
            tasks.cancel_scope.cancel()


async def kept(archive: Archive) -> list[str]:
    return sorted(info.run_id for info in await archive.runs(limit=100))


def announced(name: str, where: str) -> WorkerInfo:
    return WorkerInfo(name, ["echo"], extra={"archive": where})


async def test_runs_are_archived_when_they_end_several_at_once(tmp_path: Path) -> None:
    log, archive = MemoryLog(), Archive(tmp_path)
    async with running(log, archive=archive) as archiver:
        await log_of(*(f"r{number}" for number in range(9)), log=log)
        for number in range(9):
            archiver.ended(log, f"r{number}")
        archiver.ended(log, "r0")
        archiver.ended(log, "never")
        await archiver.finish()
        assert archiver.archived == 9
    assert await kept(archive) == [f"r{number}" for number in range(9)]


async def test_what_ended_without_a_worker_is_found_on_every_shard_and_again_later(tmp_path: Path) -> None:
    archive, first, second = Archive(tmp_path), await log_of("a"), await log_of("b")

    async def all_kept() -> bool:
        return await kept(archive) == ["a", "b", "c"]

    async with running(first, second, archive=archive, look_every_s=0.01) as archiver:
        await until(lambda: has(archive, "b"))
        await log_of("c", log=second)
        await until(all_kept)
    assert archiver.archived == 3, "each once"


async def has(archive: Archive, run_id: str) -> bool:
    return await archive.info(run_id) is not None


async def test_of_the_live_workers_with_one_archive_only_the_first_looks_through_all_runs(tmp_path: Path) -> None:
    log, archive = await log_of("a", "b"), Archive(tmp_path)
    await log.announce(announced("w0", archive.where), ttl_ms=HOUR)
    await log.announce(announced("w1", archive.where), ttl_ms=HOUR)
    async with running(log, archive=archive, look_every_s=0.01) as archiver:
        archiver.ended(log, "b")
        await archiver.finish()
        for _ in range(10):
            await anyio.sleep(0.005)
        assert await kept(archive) == ["b"], "what ended on this worker"
        await log.withdraw("w0")
        await log.announce(announced("v9", "another archive"), ttl_ms=HOUR)
        await until(lambda: has(archive, "a"))


async def test_an_archive_that_cannot_be_written_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, archive = await log_of("a", "b"), Archive(tmp_path / "kept")
    (tmp_path / "kept").write_bytes(b"not a folder")
    async with running(log, archive=archive, look_every_s=0.01) as archiver:
        archiver.ended(log, "a")

        async def told() -> bool:
            return "archive run a: " in caplog.text and "it cannot be written" in caplog.text

        await until(told)
        assert archiver.archived == 0
        (tmp_path / "kept").unlink()
        await until(lambda: has(archive, "a"))
        await until(lambda: has(archive, "b"))


async def test_a_log_that_cannot_be_reached_is_waited_for(tmp_path: Path) -> None:
    class Away(MemoryLog):
        away = True

        async def info(self, run_id: str) -> RunInfo | None:
            if self.away:
                raise LogUnavailableError("no server")
            return await super().info(run_id)

    log, archive = Away(), Archive(tmp_path)
    await log_of("a", log=log)
    async with running(log, archive=archive) as archiver:
        archiver.ended(log, "a")
        for _ in range(10):
            await anyio.sleep(0.005)
        log.away = False
        await until(lambda: has(archive, "a"))


async def test_a_run_with_damaged_records_is_told_once_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Gaps(MemoryLog):
        reads = 0

        async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
            self.reads += run_id == "bad"
            found = await super().read_encoded(run_id, after=after, limit=limit)
            return found[1:] if run_id == "bad" else found

    log, archive = Gaps(), Archive(tmp_path)
    await log_of("a", "bad", "z", log=log)
    async with running(log, archive=archive, look_every_s=0.01):

        async def read_again() -> bool:
            return log.reads > 2

        await until(read_again)
    assert await kept(archive) == ["a", "z"]
    assert caplog.text.count("run bad cannot be archived, and will be removed") == 1


def test_a_retention_in_which_a_run_may_be_lost_is_refused() -> None:
    check_kept_for_the_archive(WorkerOptions(retention_ms=300_000, retention={"*:failed": 300_000}))
    for options in (WorkerOptions(retention_ms=299_999), WorkerOptions(retention={"a:*": 299_999, "*:failed": HOUR})):
        with pytest.raises(ValueError, match=r"must be kept for at least 5 minutes, .* a retention is 299\.999 s"):
            check_kept_for_the_archive(options)
