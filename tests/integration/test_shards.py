"""Several shards as one: what the client asks goes to the shard that has it, and their number is settled once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.runtime.core.errors import RunNotFoundError, ShardsError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.log.redis.shards import ShardedLog, shard_of_run, shard_of_session
from playhead.runtime.log.values import NewRun, WorkerInfo

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SHARDS = 4
SESSIONS = ["ada", "cleo", "dan", "user-5"]
"""One of each shard."""


def test_the_sessions_used_here_are_of_all_shards() -> None:
    assert {shard_of_session(name, shards=SHARDS) for name in SESSIONS} == set(range(SHARDS))


# The number


async def test_the_first_to_say_a_number_settles_it_and_the_others_take_it(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as first, fleet.client() as second, fleet.client(shards=SHARDS) as third:
        assert [await client.shards() for client in (first, second, third)] == [SHARDS] * 3


async def test_another_number_is_refused_and_nothing_is_changed(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS):
        pass
    with pytest.raises(
        ShardsError, match=f"prefix '{fleet.prefix}' has the number of shards 4, not 3.*Pass 4"
    ) as raised:
        async with fleet.client(shards=3):
            pass
    assert (raised.value.settled, raised.value.wanted) == (4, 3)
    async with fleet.client() as client:
        assert await client.shards() == SHARDS


async def test_looking_settles_nothing_and_the_first_submission_settles_one(fleet: Fleet) -> None:
    async with fleet.client() as client:
        assert await client.runs() == []
        assert await client.run_of_session("ada") is None
        assert await client.log.settled_shards() is None
        await client.start("agent", "Hi")
        assert await client.log.settled_shards() == 1
    with pytest.raises(ShardsError):
        async with fleet.client(shards=SHARDS):
            pass


async def test_a_client_that_was_open_before_the_number_was_settled_goes_by_it(fleet: Fleet) -> None:
    async with fleet.client() as early, fleet.client(shards=SHARDS) as other:
        runs = [await other.start("agent", "Hi", session_id=name) for name in SESSIONS]
        assert [(await early.run(run.id).info()).session for run in runs] == SESSIONS
        for run, name in zip(runs, SESSIONS, strict=True):
            held = await early.run_of_session(name)
            assert held is not None
            assert held.id == run.id
        assert shard_of_run((await early.start("agent", "Hi", session_id="dan")).id) == shard_of_run(runs[2].id)


async def test_a_deployment_that_had_runs_before_there_were_shards_has_one(fleet: Fleet) -> None:
    async with fleet.client() as client:
        await client.log.submit(NewRun("r1", "agent", RunSubmitted(at=1, agent="agent")))  # settles nothing
        with pytest.raises(ShardsError):
            async with fleet.client(shards=SHARDS):
                pass
        assert await client.shards() == 1


async def test_of_many_clients_that_say_a_number_at_once_one_settles_it(fleet: Fleet) -> None:
    settled: list[int] = []
    refused: list[int] = []

    async def say(shards: int) -> None:
        try:
            async with fleet.client(shards=shards) as client:
                settled.append(await client.shards())
        except ShardsError as error:
            refused.append(error.settled)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(say, 2 + number % 3)
    assert len({*settled, *refused}) == 1
    assert len(settled) == 4


# Where runs are


async def test_runs_of_a_session_are_on_its_shard_and_others_on_all(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as client:
        for name in SESSIONS:
            runs = [await client.start("agent", "Hi", session_id=name) for _ in range(2)]
            assert {shard_of_run(run.id) for run in runs} == {shard_of_session(name, shards=SHARDS)}
            shard = shard_of_run(runs[0].id)
            assert await fleet.ask("EXISTS", f"{{{fleet.prefix}:{shard:x}}}:run:{runs[0].id}") == 1
        free = {shard_of_run((await client.start("agent", "Hi")).id) for _ in range(60)}
        assert free == set(range(SHARDS))  # that one is missing has a chance of 1 in 8 million
        assert len(await client.runs(limit=100)) == 68


async def test_an_id_that_is_not_on_its_sessions_shard_is_refused(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as client:
        for run_id in (new_run_id(shard=1), "my-own"):
            with pytest.raises(
                ValueError, match=r"its session 'cleo' on shard 2 of 4: .*new_run_id\(session_id='cleo'\)"
            ):
                await client.start("agent", "Hi", session_id="cleo", run_id=run_id)
        with pytest.raises(ValueError, match="names shard 4, and the deployment has 4, counted from 0"):
            await client.start("agent", "Hi", run_id=new_run_id(shard=4))
        run_id = await client.new_run_id(session_id="cleo")
        for _ in range(2):  # safe to try again
            assert (await client.start("agent", "Hi", session_id="cleo", run_id=run_id)).id == run_id
        assert (await client.start("agent", "Hi", run_id="my-own")).id == "my-own"
        assert [run.run_id for run in await client.runs()] == ["my-own", run_id]


async def test_a_shard_that_does_not_exist_has_no_runs_and_gets_no_connection(fleet: Fleet) -> None:
    async with fleet.client(shards=2) as client:
        with pytest.raises(RunNotFoundError):
            await client.run(new_run_id(shard=200)).info()
        with pytest.raises(RunNotFoundError):
            await client.run(new_run_id(shard=2)).result()
        assert len(await fleet.connections("viewer")) <= 2


async def test_the_newest_runs_and_the_live_workers_of_all_shards_are_told_once(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as client:
        logs = ShardedLog(lambda shard: fleet.log(shard=shard))
        ids: list[str] = []
        for number in range(8):
            ids.append((await client.start("agent", "Hi", run_id=new_run_id(shard=number % SHARDS))).id)
            await anyio.sleep(0.002)  # they are ordered by the millisecond
        for shard in range(SHARDS):
            await logs.at(shard).announce(WorkerInfo("everywhere", ["agent"]), ttl_ms=60_000)
        await logs.at(3).announce(WorkerInfo("there", ["agent"]), ttl_ms=60_000)
        assert [run.run_id for run in await client.runs(limit=5)] == ids[:2:-1]
        assert [worker.worker for worker in await client.workers()] == ["everywhere", "there"]
        await logs.aclose()


# Tails


async def test_tails_on_all_shards_receive_what_is_published_and_rejoin(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as client, anyio.create_task_group() as tasks:
        for shard in range(SHARDS):
            async with fleet.owner(shard=shard) as owner:
                assert shard_of_run(owner.id) == shard
                viewer = fleet.viewer(client.run(owner.id))
                tasks.start_soon(viewer.watch)
                await viewer.seen(owner.head)
                await viewer.receives_from(owner, client)
                await owner.end()
                await viewer.seen(owner.head)
                viewer.assert_dense(owner.head)
                later = [entry async for entry in client.run(owner.id).records(after=viewer.entries[1].cursor)]
                assert later == viewer.entries[2:]
        assert client.statistics().messages >= 3 * SHARDS
        assert client.statistics().subscriptions == 0
        assert len(await fleet.connections("viewer")) <= 2 * SHARDS


async def test_a_client_connects_to_no_shard_that_it_does_not_use(fleet: Fleet) -> None:
    async with fleet.client(shards=SHARDS) as client, fleet.owner() as owner:
        await client.run(owner.id).info()
        assert len(await fleet.connections("viewer")) <= 2
