"""Workers with an archive: what ends on the fleet is there, however it ends, and whichever worker dies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from playhead.runtime import Agent
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.models import ScriptedCall, ScriptedModel

if TYPE_CHECKING:
    from playhead.client import Client
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def removed(fleet: Fleet, client: Client, *run_ids: str) -> None:
    """As Redis does it when the retention of these runs ends."""
    keys = client.log.keys
    await fleet.ask("DEL", *(key for run_id in run_ids for key in (keys.run(run_id), keys.log(run_id))))


async def test_a_worker_archives_what_ends_on_it_and_what_ended_before(fleet: Fleet, tmp_path: Path) -> None:
    scripts = ["Hello.", ScriptedCall(error=ValueError("no"))]
    agent = Agent(ScriptedModel(scripts), name="greeter", callback_handler=None)
    async with fleet.client(archive=tmp_path) as client:
        never_claimed = await client.start("greeter", "Hi")
        await never_claimed.cancel()
        async with fleet.worker(agent, archive=tmp_path) as worker:
            completed, failed = await client.start("greeter", "Hi"), await client.start("greeter", "Hi")
            assert str(await completed.result()) == "Hello.\n"
            with pytest.raises(RunFailedError):
                await failed.result()
            live = await client.workers()
            assert [one.extra["archive"] for one in live] == [str(tmp_path)]
        assert worker.statistics().archived == 3
        ids = [never_claimed.id, completed.id, failed.id]
        infos = [await run.info() for run in (failed, completed, never_claimed)]
        # An archive knows no other order in one millisecond than that of ids.
        before = sorted(infos, key=lambda one: (one.created, one.run_id), reverse=True)
        await removed(fleet, client, *ids)
        assert await client.runs() == before
        assert str(await completed.result()) == "Hello.\n"
        with pytest.raises(RunFailedError, match="no"):
            await failed.result()


async def test_a_worker_drains_though_its_archive_cannot_be_written(fleet: Fleet, tmp_path: Path) -> None:
    agent = Agent(ScriptedModel(["Hello."]), name="greeter", callback_handler=None)
    (tmp_path / "index").write_bytes(b"not a folder")
    (tmp_path / "runs").write_bytes(b"not a folder")
    async with fleet.client() as client, fleet.worker(agent, archive=tmp_path) as worker:
        assert str(await client.invoke_async("greeter", "Hi")) == "Hello.\n"
    assert worker.statistics().archived == 0
