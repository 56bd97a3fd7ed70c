"""A server that answers and refuses writes for longer than the lease: the owner keeps the run, and tails name the cause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client.tails.notice import Notice
from playhead.runtime import Agent
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.workers.checkpoints import Checkpoint

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LEASE_MS = 2000
FULL = ("CONFIG", "SET", "maxmemory")
NO_REPLICA = ("CONFIG", "SET", "min-replicas-to-write")
REPLICA = ("REPLICAOF",)
REFUSALS = [
    ((*FULL, "1"), (*FULL, "0"), "maxmemory"),
    ((*NO_REPLICA, "3"), (*NO_REPLICA, "0"), "good replicas"),
    ((*REPLICA, "127.0.0.1", "1"), (*REPLICA, "NO", "ONE"), "read only replica"),
]


async def three_leases(there: Fleet) -> None:
    """As the server counts them: by its clock."""
    began = time.monotonic()
    await there.until(lambda: _passed(began + 3 * LEASE_MS / 1000))


async def _passed(when: float) -> bool:
    return time.monotonic() >= when


async def test_the_owner_keeps_a_run_whose_end_is_refused_for_three_leases(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    async with anyio.create_task_group() as tasks:
        for refusal in REFUSALS:  # each of a server of its own, side by side, because each takes three leases
            tasks.start_soon(keeps_its_run, fleet, held_model(), *refusal)


async def keeps_its_run(
    fleet: Fleet, model: HeldModel, refuse: tuple[Any, ...], accept: tuple[Any, ...], words: str
) -> None:
    told: list[Notice] = []
    finishing = anyio.Event()

    async def visit(place: Checkpoint, run_id: str) -> None:
        if place is Checkpoint.FINISHED:
            finishing.set()

    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        agent = Agent(model, name="agent", callback_handler=None)
        async with (
            there.worker(agent, lease_ms=LEASE_MS, visit=visit) as worker,
            there.client(on_notice=told.append) as client,
            anyio.create_task_group() as tasks,
        ):
            run = await client.start("agent", "Hi")
            viewer = there.viewer(run)
            tasks.start_soon(viewer.watch)
            await model.held.wait()
            await there.ask(*refuse)
            model.go.set()
            await three_leases(there)
            assert not finishing.is_set()
            await there.ask(*accept)
            assert str(await run.result()) == f"{model.text}\n"
            await there.ended(worker, completed=1)
            info = await run.info()
            assert (info.epoch, info.crashes, len(model.calls)) == (1, 0, 1)
            await viewer.seen(info.head)
            viewer.assert_dense(info.head)
    assert [notice.kind for notice in told] == ["refused"]
    assert re.search(words, told[0].message)


async def test_a_queued_run_that_no_worker_can_claim_is_not_said_to_wait_for_busy_workers(fleet: Fleet) -> None:
    told: list[Notice] = []
    heard = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice)
        heard.set()

    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.client(on_notice=on_notice) as client, anyio.create_task_group() as tasks:
            run = await client.start("agent", "Hi")
            await there.ask(*FULL, "1")
            tasks.start_soon(there.viewer(run).watch)
            await heard.wait()
            tasks.cancel_scope.cancel()
    assert [notice.kind for notice in told] == ["refused"]
