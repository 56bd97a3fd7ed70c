"""A client with an archive reads a run that Redis has removed as it read it before, with no change of its code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.client import Run
from playhead.runtime import Agent
from playhead.runtime.core.errors import RequestNotFoundError, RunEndedError, RunNotFoundError
from playhead.runtime.core.records import ModelStarted
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from playhead.client import Client
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def all_of(run: Run) -> tuple[object, ...]:
    entries = [entry async for entry in run.records()]
    events = [(event.cursor, dict(event)) async for event in run.stream_async()]
    rest = [event.cursor async for event in run.stream_async(after=events[4][0])]
    (seq,) = [entry.seq for entry in entries if isinstance(entry.record, ModelStarted)]
    return entries, repr(events), rest, str(await run.result()), await run.request(seq), await run.info()


async def removed(fleet: Fleet, client: Client, run: Run) -> None:
    """As Redis does it at the end of its retention, the session and the definition included."""
    keys = client.log_of(run.id).keys
    info = await run.info()
    entries = [entry async for entry in run.records()]
    digests = [str(dict(entry.record).get("definition", "none")) for entry in entries[:3]]
    own = [keys.run(run.id), keys.log(run.id), keys.messages(info.session or "")]
    await fleet.ask("DEL", *own, *map(keys.definition, digests))


async def test_the_history_of_an_archived_run_is_in_the_archive_after_its_session_is_deleted(
    fleet: Fleet, tmp_path: Path
) -> None:
    agent = Agent(ScriptedModel(["Hello."], repeat=True), name="greeter", callback_handler=None)
    async with fleet.worker(agent), fleet.client(archive=tmp_path) as client, fleet.client() as without:
        await client.invoke_async("greeter", "Hi", session_id="ada")
        run = await client.start("greeter", "Hi again", session_id="ada")
        await run.result()
        before = await all_of(run)
        assert [error async for _, error in client.archive_runs(tmp_path)] == [None, None]
        assert await client.session("ada").delete()
        assert await client.session("ada").messages() == [], "what is deleted does not come back from the archive"
        assert await all_of(run) == before
        with pytest.raises(RequestNotFoundError, match="of which 0 are left"):
            await all_of(without.run(run.id))


async def test_a_run_that_redis_has_removed_is_read_from_the_archive(fleet: Fleet, tmp_path: Path) -> None:
    agent = Agent(ScriptedModel(["Hello.", "Hello again, Ada."], repeat=True), name="greeter", callback_handler=None)
    async with fleet.worker(agent), fleet.client(archive=tmp_path) as client, fleet.client() as without:
        await client.invoke_async("greeter", "Hi", session_id="ada")
        run = await client.start("greeter", "Hi again", session_id="ada")
        await run.result()
        before = await all_of(run)
        assert [error async for _, error in client.archive_runs(tmp_path)] == [None, None]
        assert [error async for _, error in client.archive_runs(tmp_path)] == []
        assert await all_of(run) == before
        await removed(fleet, client, run)
        assert await all_of(client.run(run.id)) == before
        assert (await client.runs())[0] == await run.info()
        assert [info.run_id for info in await client.runs()].count(run.id) == 1
        assert await run.cancel() == "completed"
        with pytest.raises(RunEndedError, match="has ended"):
            await run.steer("Go on.")
        with pytest.raises(RunNotFoundError):
            await without.run(run.id).info()
        with pytest.raises(RunNotFoundError):
            await client.run("never").cancel()
        assert (await run.export(tmp_path / "elsewhere.jsonl")).runs == 1
        fork = await run.fork(at=2, prompt="Hi once more")
        assert str(await fork.result()) == "Hello.\n"
    async with client.clone() as other:
        assert await all_of(other.run(run.id)) == before


async def test_a_live_run_is_followed_by_a_client_with_an_archive(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.owner() as owner, fleet.client(archive=tmp_path / "none") as client:
        viewer = fleet.viewer(client.run(owner.id))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(viewer.watch)
            await owner.append("one", " two")
            await viewer.seen(4)
            await owner.append(" three")
            await owner.end()
        viewer.assert_dense(6)


async def test_a_run_that_is_removed_while_it_is_read_goes_on_at_the_next_record(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.owner() as owner, fleet.client(archive=tmp_path) as client:
        await owner.append(*(f"{number} " for number in range(600)))
        await owner.end()
        run = client.run(owner.id)
        async for _ in client.archive_runs(tmp_path):
            pass
        seen: list[int] = []
        async for entry in run.records():
            seen.append(entry.seq)
            if entry.seq == 100:
                await removed(fleet, client, run)
        assert seen == list(range(1, 604))
