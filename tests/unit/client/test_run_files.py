"""A run in a file is read as one of a fleet, and ends where the file does: never with an end that the run did not have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from playhead.client import RunReader, open_log
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import FileEndsError, GapError, RewindError, RunFileError, RunNotFoundError
from playhead.runtime.core.records import ModelStarted, RunPaused
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import Batch
from tests.support.told_runs import PIECES, SAID, with_run

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., Awaitable[Path]]:
    """Exports runs; `state` is that of all of them."""

    async def keep(*run_ids: str, state: str = "completed") -> Path:
        log, path = MemoryLog(), tmp_path / "run.jsonl"
        for run_id in run_ids:
            await with_run(log, run_id, session=run_id, ended=state == "completed")
            if state == "paused":
                info = await log.info(run_id)
                assert info is not None
                result = {"stop_reason": "interrupt", "message": {}, "metrics": {}, "state": {}}
                paused = encode_record(RunPaused(at=9, interrupts=[], result=result))
                await log.pause(Batch(run_id, f"{run_id}-2", info.head, [paused]), interrupts=["i"])
        await export_runs(log, run_ids, path)
        return path

    return keep


async def test_the_events_of_a_file_go_on_after_any_cursor(kept: Callable[..., Awaitable[Path]]) -> None:
    with open_log(await kept("r")) as file:
        run = file.run()
        assert isinstance(run, RunReader)
        whole = [event async for event in run.stream_async()]
        assert [event["data"] for event in whole if "data" in event] == [*PIECES]
        assert whole == [event async for event in run.replay(speed=None)]
        for place, event in enumerate(whole, start=1):
            assert [one async for one in run.stream_async(after=event.cursor)] == whole[place:]
        entries = [entry async for entry in run.records()]
        for entry in entries:
            assert [one async for one in run.records(after=entry.cursor)] == entries[entry.seq :]
        assert (await run.result()).stop_reason == "end_turn"
        (seq,) = [entry.seq for entry in entries if isinstance(entry.record, ModelStarted)]
        assert (await run.request(seq)).request.messages == SAID


async def test_a_cursor_of_another_log_is_refused(kept: Callable[..., Awaitable[Path]]) -> None:
    with open_log(await kept("r")) as file:
        run = file.run("r")
        head = (await run.info()).head
        with pytest.raises(RewindError):
            [one async for one in run.records(after="4-1")]
        for after in (head + 1, f"{head + 1}-2"):
            with pytest.raises(GapError, match=f"record {head + 1} is missing"):
                [one async for one in run.records(after=after)]


async def test_a_run_that_had_not_ended_says_so_after_its_last_record(kept: Callable[..., Awaitable[Path]]) -> None:
    with open_log(await kept("r", state="running")) as file:
        run = file.run()
        seen: list[int] = []
        with pytest.raises(FileEndsError, match="was running when it was exported, so the file ends with its") as end:
            [seen.append(entry.seq) async for entry in run.records()]
        assert seen == [*range(1, end.value.expected)]
        assert end.value.state == "running"
        with pytest.raises(FileEndsError):
            [event async for event in run.stream_async()]
        with pytest.raises(FileEndsError):
            await run.result()


async def test_a_run_that_was_paused_ends_there_unless_its_answers_are_waited_for(
    kept: Callable[..., Awaitable[Path]],
) -> None:
    with open_log(await kept("r", state="paused")) as file:
        events = [event async for event in file.run().stream_async()]
        assert events[-1]["result"].stop_reason == "interrupt"
        assert (await file.run().result()).stop_reason == "interrupt"
        with pytest.raises(FileEndsError, match="was paused when it was exported"):
            await file.run().result(on_pause="wait")


async def test_a_run_is_named_if_there_are_several(kept: Callable[..., Awaitable[Path]]) -> None:
    with open_log(await kept("a", "b")) as file:
        assert file.run_ids == ["a", "b"]
        assert sorted(info.run_id for info in await file.runs()) == ["a", "b"]
        assert (await file.run("b").info()).run_id == "b"
        with pytest.raises(ValueError, match=r"has 2 runs: a, b\. Name one of them: .*run\.jsonl#RUN"):
            file.run()
        with pytest.raises(RunNotFoundError, match=r"no run 'c' in .*run\.jsonl; it has a, b"):
            file.run("c")


async def test_a_run_of_a_file_is_exported_to_the_same_lines(
    kept: Callable[..., Awaitable[Path]], tmp_path: Path
) -> None:
    path = await kept("r")
    with open_log(path) as file:
        told = await file.run().export(tmp_path / "again.jsonl")
        assert (told.runs, told.unfinished) == (1, [])
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


async def test_a_closed_file_and_one_that_is_not_there_say_so(
    kept: Callable[..., Awaitable[Path]], tmp_path: Path
) -> None:
    with pytest.raises(RunFileError, match="cannot be opened"):
        open_log(tmp_path / "none.jsonl")
    with FileLog(await kept("r")) as file:
        pass
    with pytest.raises(RunFileError, match="closed"):
        await file.read("r")
