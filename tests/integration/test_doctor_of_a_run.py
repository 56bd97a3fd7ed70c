"""`playhead doctor RUN`: what is wrong with a run is found, by what is stored of it; of a run that is whole, nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import Agent
from playhead.runtime.core.codec import pack
from playhead.runtime.log.redis.inspection import faults_of
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from tests.support.fleet import Fleet, Owner

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CHUNK = pack([1, 1, "forged"])


async def faults(owner: Owner) -> list[str]:
    return faults_of(await owner.log.stored(owner.id))


async def test_a_run_is_whole_in_every_state(fleet: Fleet) -> None:
    agent = Agent(ScriptedModel(["Done."], repeat=True), name="agent", callback_handler=None)
    async with fleet.client() as client:
        first = await client.start("agent", "Hi", session_id="ada")
        second = await client.start("agent", "Hi", session_id="ada")
        cancelled = await client.start("absent", "Hi")
        await cancelled.cancel()
        runs = (first, second, cancelled)
        assert [faults_of(await client.log.stored(run.id)) for run in runs] == [[], [], []]
        async with fleet.worker(agent), anyio.create_task_group() as tasks:
            tasks.start_soon(second.result)
            assert faults_of(await client.log.stored(first.id)) == []
        assert [faults_of(await client.log.stored(run.id)) for run in runs] == [[], [], []]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (("XADD", "{log}", "3-1", "r", CHUNK), "has 2 records by its hash, and its log has 3"),
        (("XADD", "{log}", "3-9", "r", CHUNK), "entry 3-9 is of ownership 9, after 1 and with 1 in all"),
        (("XADD", "{log}", "5-1", "r", CHUNK), "record 3 is missing: the log goes on with entry 5-1"),
        (("XADD", "{log}", "3-1", "r", b"\xc1"), "entry 3-1 was not written by playhead"),
        (("XADD", "{log}", "3-1", "x", "y"), "entry 3-1 was not written by playhead: its fields are"),
        (("XDEL", "{log}", "1-0"), "record 1 is missing"),
        (("DEL", "{log}"), "its log has 0"),
        (("DEL", "{run}"), "the run has no hash"),
        (("HSET", "{run}", "state", "banana"), "its state is 'banana'"),
        (("HSET", "{run}", "state", "completed"), "the run is completed, and its last record is run.claimed"),
        (("HSET", "{run}", "state", "queued"), "neither in its agent's queue nor"),
        (("HSET", "{run}", "head", "many"), "the field head of its hash is b'many'"),
        (("ZREM", "{leases}", "{id}"), "is running and has no lease"),
        (("ZADD", "{ready}", 1, "{id}"), "is running, and is in its agent's queue"),
        (("RPUSH", "{inbox}", "x"), "its inbox has 1 signals, and 0 by its hash"),
    ],
)
async def test_each_damage_is_found(fleet: Fleet, damage: tuple[Any, ...], fault: str) -> None:
    async with fleet.owner() as owner:
        keys = owner.log.keys
        names = {"{log}": owner.stream, "{run}": keys.run(owner.id), "{inbox}": keys.inbox(owner.id), "{id}": owner.id}
        names |= {"{leases}": keys.leases, "{ready}": keys.ready("agent")}
        assert await faults(owner) == []
        await fleet.ask(*(names.get(part, part) if isinstance(part, str) else part for part in damage))
        assert any(fault in found for found in await faults(owner)), await faults(owner)
