"""One worker and several shards: all are served in turn, and one that is away costs the others nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.runtime import Agent
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunClaimed
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.shards import shard_of_run
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"agent": encode_record(RunClaimed(at=1, worker="dead"))}
SHARDS = 4
SESSIONS = ["ada", "cleo", "dan", "user-5"]
"""One of each shard."""


class Noting:
    """An agent that says what it was asked, and notes it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

        def speak(messages: Messages) -> str:
            text = messages[-1].get("content", [])[0].get("text", "")
            self.asked.append(text)
            return f"You said {text}"

        self.agent = Agent(ScriptedModel([speak], repeat=True), name="agent", callback_handler=None)


async def test_a_worker_serves_all_shards_and_sessions_keep_their_order(fleet: Fleet) -> None:
    noting = Noting()
    async with fleet.client(shards=SHARDS) as client:
        runs = [
            await client.start("agent", f"{name} {number}", session_id=name) for number in range(3) for name in SESSIONS
        ]
        assert {shard_of_run(run.id) for run in runs} == set(range(SHARDS))
        async with fleet.worker(noting.agent, more=fleet.logs(range(1, SHARDS))) as worker:
            for run in runs:
                await run.result()
            await fleet.ended(worker, completed=12)
        for name in SESSIONS:
            assert [text for text in noting.asked if text.startswith(name)] == [f"{name} {n}" for n in range(3)]
            assert len(await client.reader.messages(name)) == 6


@pytest.mark.parametrize("busy", range(SHARDS))
async def test_a_shard_with_a_long_queue_holds_up_no_other(fleet: Fleet, busy: int) -> None:
    noting = Noting()
    others = [shard for shard in range(SHARDS) if shard != busy]
    async with fleet.client(shards=SHARDS) as client:
        long = [await client.start("agent", "long", run_id=new_run_id(shard=busy)) for _ in range(40)]
        for shard in others:
            await client.start("agent", f"single {shard}", run_id=new_run_id(shard=shard))
        async with fleet.worker(noting.agent, more=fleet.logs(range(1, SHARDS)), concurrency=1) as worker:
            await long[-1].result()
            await fleet.ended(worker, completed=43)
    places = [noting.asked.index(f"single {shard}") for shard in others]
    assert max(places) < 2 * SHARDS, "each shard has its turn"


@pytest.mark.parametrize(("busy", "quiet"), [(1, 3), (3, 1)])
async def test_a_run_that_comes_while_the_worker_is_full_has_the_next_turn(
    fleet: Fleet, busy: int, quiet: int, held_model: Callable[..., HeldModel]
) -> None:
    noting = Noting()
    held = held_model()
    holding = Agent(held, name="holding", callback_handler=None)
    logs = fleet.logs(range(1, SHARDS))
    async with fleet.client(shards=SHARDS) as client:
        first = await client.start("holding", "Hi", run_id=new_run_id(shard=busy))
        async with fleet.worker(noting.agent, holding, more=logs, concurrency=1) as worker:
            await held.held.wait()
            long = [await client.start("agent", "long", run_id=new_run_id(shard=busy)) for _ in range(40)]
            await client.start("agent", "single", run_id=new_run_id(shard=quiet))
            held.go.set()
            await first.result()
            await long[-1].result()
            await fleet.ended(worker, completed=42)
    assert noting.asked.index("single") < 2 * SHARDS


async def test_all_shards_together_hold_no_more_runs_than_the_worker_may(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    held = held_model()
    agent = Agent(held, name="agent", callback_handler=None)
    async with fleet.client(shards=SHARDS) as client:
        runs = [await client.start("agent", "Hi", run_id=new_run_id(shard=number % SHARDS)) for number in range(12)]
        async with fleet.worker(agent, more=fleet.logs(range(1, SHARDS)), concurrency=5) as worker:
            await held.called(5)
            assert worker.statistics().running == 5
            states = [(await run.info()).state for run in runs]
            assert states.count("running") == 5
            held.go.set()
            for run in runs:
                await run.result()
            await fleet.ended(worker, completed=12)


async def test_a_signal_finds_its_run_on_any_shard(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    held = held_model()
    agent = Agent(held, name="agent", callback_handler=None)
    async with fleet.client(shards=SHARDS) as client:
        run = await client.start("agent", "Hi", run_id=new_run_id(shard=3))
        async with fleet.worker(agent, more=fleet.logs(range(1, SHARDS))) as worker:
            await held.held.wait()
            assert await run.cancel() == "running"
            assert (await run.result())["stop_reason"] == "cancelled"
            await fleet.ended(worker, cancelled=1)


async def test_a_dead_workers_run_is_taken_over_on_any_shard(fleet: Fleet) -> None:
    (log,) = fleet.logs([2], "dead")
    async with fleet.client(shards=SHARDS) as client:
        run = await client.start("agent", "Hi", run_id=new_run_id(shard=2))
        assert await log.claim(CLAIMED, worker="dead", token=new_token(), lease_ms=1)
        await log.aclose()
        async with fleet.worker(Noting().agent, more=fleet.logs(range(1, SHARDS))) as worker:
            await fleet.ended(worker, completed=1)  # before a tail may reap the run in the worker's place
            assert worker.statistics().reaped == 1
            assert str(await run.result()) == "You said Hi\n"


async def test_a_worker_is_announced_on_all_shards_and_told_once(fleet: Fleet) -> None:
    logs = fleet.logs(range(SHARDS), "viewer")
    async with fleet.client(shards=SHARDS) as client:
        async with fleet.worker(Noting().agent, more=fleet.logs(range(1, SHARDS))) as worker:
            for log in logs:
                await fleet.until(lambda log=log: _announced(log, worker.name))
            assert [info.worker for info in await client.workers()] == [worker.name]
        assert await client.workers() == []
    for log in logs:
        await log.aclose()


async def _announced(log: RedisLog, name: str) -> bool:
    return [info.worker for info in await log.workers()] == [name]


@pytest.mark.parametrize("away", [0, 1])
async def test_a_shard_that_is_away_stops_no_run_of_another(fleet: Fleet, away: int) -> None:
    """With one place only: none may wait for the shard that does not reply."""
    noting = Noting()
    there = 1 - away
    async with fleet.client(shards=2) as client:
        dead = RedisLog(connect("redis://127.0.0.1:1"), prefix=fleet.prefix, shard=away)
        first, second = sorted((dead, fleet.log("worker", shard=there)), key=lambda log: log.keys.shard)
        async with fleet.worker(noting.agent, log=first, more=[second], concurrency=1) as worker:
            for number in range(10):
                run = await client.start("agent", str(number), run_id=new_run_id(shard=there))
                with anyio.fail_after(5):
                    await run.result()
            await fleet.ended(worker, completed=10)
