"""`playhead.workers.testing.running_fleet`: a server and workers for a block, and nothing of them after it."""

from __future__ import annotations

import anyio
import pytest
import redis.asyncio

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.testing import ScriptedModel, folded_text
from playhead.workers import WorkerOptions
from playhead.workers.testing import running_fleet
from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_a_fleet_has_a_server_of_its_own_which_ends_with_the_block():
    agent = Agent(ScriptedModel(["one two three"]), name="counter", callback_handler=None)
    with anyio.fail_after(20):
        async with running_fleet(agent) as fleet, Client(fleet.url) as client:
            run = await client.start("counter", "count")
            assert folded_text([event async for event in run.stream_async()]) == "one two three"
    async with redis.asyncio.Redis.from_url(fleet.url) as client:
        with pytest.raises(redis.ConnectionError):
            await client.execute_command("PING")


async def test_fleets_share_a_server_by_their_prefixes_and_requeue_what_has_not_ended(redis_url: str, prefix: str):
    held, heir = HeldModel(), HeldModel()
    heir.go.set()
    options = WorkerOptions(grace_s=0, lease_ms=2000)
    with anyio.fail_after(20):
        async with Client(redis_url, prefix=prefix) as client:
            run = await client.start("agent", "Hi")
            async with running_fleet(
                Agent(held, name="agent"), url=redis_url, prefix=prefix, workers=2, options=options
            ) as fleet:
                assert (fleet.url, fleet.prefix, len(fleet.workers)) == (redis_url, prefix, 2)
                await held.held.wait()
            assert not (await run.info()).ended
            async with running_fleet(Agent(heir, name="agent"), url=redis_url, prefix=prefix):
                assert folded_text([event async for event in run.stream_async()]) == heir.text
            assert (await run.info()).crashes == 0


async def test_an_error_of_the_block_ends_the_fleet_and_passes():
    with anyio.fail_after(20), pytest.raises(ExceptionGroup) as raised:
        async with running_fleet(Agent(ScriptedModel([]), name="agent")):
            raise ValueError("of the test")
    assert raised.group_contains(ValueError, match="of the test")
