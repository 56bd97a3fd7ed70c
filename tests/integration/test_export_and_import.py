"""A run of a fleet is exported, and imported into another deployment: there it plays, and tells what its model was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from playhead.client import Client, Run, RunReader, open_log
from playhead.runtime import Agent, tool
from playhead.runtime.core.errors import FileEndsError, PlayheadError, RunExistsError, RunNotFoundError
from playhead.runtime.core.records import ModelStarted
from playhead.runtime.log.redis.inspection import faults_of
from playhead.runtime.log.redis.shards import shard_of_run, shard_of_session
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def weigh(what: str) -> dict[str, object]:
    """Weigh."""
    return {"status": "success", "content": [{"text": f"{what}: 3 kg"}, {"json": {"raw": b"\x00\xff"}}]}


def agent() -> Agent:
    model = ScriptedModel(["Hello.", tool_call("weigh", {"what": "otter"}), "It has 3 kg."])
    return Agent(model, name="weigher", tools=[weigh], system_prompt="Be brief.", callback_handler=None)


async def weighed(client: Client) -> Run:
    """A run whose session had messages before it, and got more after it."""
    await client.invoke_async("weigher", "Hi", session_id="ada")
    run = await client.start("weigher", "Weigh the otter.", session_id="ada")
    await run.result()
    return run


async def all_of(run: RunReader) -> tuple[object, ...]:
    entries = [entry async for entry in run.records()]
    calls = [entry.seq for entry in entries if isinstance(entry.record, ModelStarted)]
    requests = [replace(await run.request(seq), run_id="") for seq in calls]
    events = [(event.cursor, event.at, dict(event)) async for event in run.stream_async()]
    return entries, requests, repr(events), str(await run.result())


async def test_a_run_of_a_fleet_is_the_same_in_a_file_and_in_another_deployment(
    fleet: Fleet, tmp_path: Path, no_key_leaks: Callable[[], list[str]]
) -> None:
    path = tmp_path / "run.jsonl"
    async with fleet.worker(agent()), fleet.client() as client:
        run = await weighed(client)
        before = await all_of(run)
        await run.export(path)
        with pytest.raises(RunExistsError, match="exists already"):
            await client.import_runs(path)
        (copy,) = await client.import_runs(path, as_id="copy")
        assert await all_of(copy) == before
    with open_log(path) as file:
        assert await all_of(file.run()) == before
    other = type(fleet)(fleet.url, f"{fleet.prefix}-other")
    async with other.client() as client:
        (imported,) = await client.import_runs(path)
        assert imported.id == run.id
        assert await all_of(imported) == before
        assert faults_of(await client.log_of(run.id).stored(run.id)) == []
        assert [info.run_id for info in await client.runs()] == [run.id]
        with pytest.raises(PlayheadError, match="has ended"):
            await imported.steer("Go on.")
        async with other.worker(agent()) as worker:
            await client.invoke_async("weigher", "Hi")
            assert worker.statistics().ended == {"completed": 1}, "the imported run is not run again"


async def test_a_run_is_imported_into_a_deployment_of_several_shards(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with fleet.worker(agent()), fleet.client() as client:
        run = await weighed(client)
        before = await all_of(run)
        await run.export(path)
    many = type(fleet)(fleet.url, f"{fleet.prefix}-many")
    async with many.client(shards=7) as client:
        for run_id in (run.id, await client.new_run_id(), "copy"):
            (imported,) = await client.import_runs(path, as_id=run_id)
            assert await all_of(imported) == before
            session = (await imported.info()).session or ""
            assert shard_of_session(session, shards=7) == shard_of_run(run_id)
        await imported.export(path)
    async with fleet.client() as client:
        (back,) = await client.import_runs(path)
        assert await all_of(back) == before
        with pytest.raises(ValueError, match=r"names shard 6, and the deployment has 1.*--as NEW_ID"):
            await client.import_runs(path, as_id="6-1m83nx1r10e1yh1kf8n")


async def test_a_running_run_is_exported_up_to_now_and_imported_as_ended(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("one", " two")
        run = client.run(owner.id)
        assert (await run.export(path)).unfinished == [owner.id]
        await owner.append(" three")
        await owner.end()
        (copy,) = await client.import_runs(path, as_id="copy")
        assert (await copy.info()).state == "failed"
        assert [entry.record.type async for entry in copy.records()][-3:] == [
            "model.chunk",
            "model.chunk",
            "run.failed",
        ]
        with pytest.raises(PlayheadError, match="was running when it was exported, after record 4"):
            await copy.result()
    with open_log(path) as file, pytest.raises(FileEndsError):
        await file.run().result()


async def test_what_cannot_be_exported_or_imported_says_so_and_leaves_nothing(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.client() as client:
        with pytest.raises(RunNotFoundError):
            await client.run("none").export(tmp_path / "run.jsonl")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(PlayheadError, match="cannot be opened"):
            await client.import_runs(tmp_path / "run.jsonl")
        with pytest.raises(ValueError, match="run_id must be"):
            await client.import_runs(tmp_path / "run.jsonl", as_id="a b")
        with pytest.raises(ValueError, match="keep_s"):
            await client.import_runs(tmp_path / "run.jsonl", keep_s=0)
