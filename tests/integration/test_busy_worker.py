"""A worker with more to do than it can do at once is slow, and healthy: it keeps all its runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.runtime import Agent

if TYPE_CHECKING:
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

RUNS = 100


async def test_runs_that_all_end_at_once_far_from_their_server_end_in_time(
    fleet: Fleet, proxy: Proxy, held_model: Callable[..., HeldModel], caplog: pytest.LogCaptureFixture
) -> None:
    """None of their calls may wait until its time is over because others have the connections.

    The proxy shares the event loop with the worker and the readers. On a busy machine many messages at once block that
    loop for more than a second, and renewals with it; a lease of 10 s and a reply that takes 1 s allow for that.
    """
    model = held_model()
    agent = Agent(model, name="agent", callback_handler=None)
    async with fleet.client() as client:
        runs = [await client.start("agent", "Hi") for _ in range(RUNS)]
        async with fleet.at(proxy.url).worker(agent, concurrency=RUNS, lease_ms=10_000) as worker:
            await model.called(RUNS)
            proxy.delay(1.0)
            model.go.set()
            for run in runs:
                assert str(await run.result()) == f"{model.text}\n"
        assert worker.statistics().ended == {"completed": RUNS}
        infos = [await run.info() for run in runs]
        assert {(info.epoch, info.crashes, info.errors) for info in infos} == {(1, 0, 0)}
        assert "cannot reach Redis" not in caplog.text


async def test_a_worker_takes_three_connections_however_many_runs_it_has(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    agent = Agent(model, name="agent", callback_handler=None)
    async with fleet.worker(agent, log=fleet.log("crew"), lease_ms=2000) as worker, fleet.client() as client:
        runs = [await client.start("agent", "Hi") for _ in range(50)]
        await model.called(50)
        while not worker.statistics().renewals:  # noqa: ASYNC110 - the third connects for it
            await anyio.sleep(0.01)
        assert len(await fleet.connections("crew")) == 3
        model.go.set()
        for run in runs:
            await run.result()
        assert len(await fleet.connections("crew")) == 3
