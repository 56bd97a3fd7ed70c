"""What a tail is told of its run's lease, with a worker that lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.client import Notice
from playhead.runtime import Agent

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_of_a_worker_that_renews_nothing_is_told_however_long_its_model_is_silent(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    notices: list[Notice] = []
    agent = Agent(model, name="slow", callback_handler=None)
    async with fleet.worker(agent, lease_ms=4_000) as worker, fleet.client(on_notice=notices.append) as client:
        run = await client.start("slow", "Hi")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.result)

            async def renewed() -> bool:
                return worker.statistics().renewals >= 4

            await fleet.until(renewed)
            model.go.set()
    assert notices == []


async def test_the_lease_of_a_run_says_when_it_was_renewed_and_how_long_it_is(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    agent = Agent(model, name="slow", callback_handler=None)
    async with fleet.client() as client:
        run = await client.start("slow", "Hi")
        assert await client.reader.lease(run.id) is None
        async with fleet.worker(agent, lease_ms=4_000):
            await model.held.wait()
            lease = await client.reader.lease(run.id)
            assert lease is not None
            assert lease.length_ms == 4_000
            assert lease.renewed <= lease.now < lease.overdue < lease.ends
            model.go.set()
            await run.result()
        assert await client.reader.lease(run.id) is None
