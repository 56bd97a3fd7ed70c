"""`clone()`: the same log over connections of its own, which another event loop needs."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.log.interface import Log
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import NewRun, Renewal

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"echo": encode_record(RunClaimed(at=1, worker="w"))}


class NamedLog(RedisLog):
    """A subclass, as tests have them."""

    name = "first"


async def test_a_clone_of_a_log_is_used_from_another_thread(log: Log) -> None:
    if not isinstance(log, RedisLog):
        pytest.skip("a log in memory has no connections")
    run_id, token = new_run_id(), new_token()
    await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo")))
    claim = await log.claim(CLAIMED, worker="w", token=token, lease_ms=60_000)
    assert claim is not None

    async def renew() -> list[Renewal]:
        other = log.clone()
        try:
            return await other.renew([(run_id, token)], lease_ms=60_000)
        finally:
            await other.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.info, run_id)  # its own loop goes on using its own connections
        assert await anyio.to_thread.run_sync(anyio.run, renew) == [Renewal(ours=True)]
    assert await log.renew([(run_id, token)], lease_ms=60_000) == [Renewal(ours=True)]


async def test_a_clone_has_the_keys_and_the_options_of_the_log(log: Log) -> None:
    if not isinstance(log, RedisLog):
        pytest.skip("a log in memory has no connections")
    named = NamedLog(log.client, prefix=log.keys.prefix)
    named.name = "second"
    other = named.clone()
    try:
        assert isinstance(other, NamedLog)
        assert (other.keys, other.name) == (named.keys, "second")
        mine, its = log.client.connection_pool, other.client.connection_pool
        assert its is not mine
        assert type(its) is type(mine)
        assert its.connection_class is mine.connection_class
        assert its.max_connections == mine.max_connections
        assert its.connection_kwargs["protocol"] == 2
        assert getattr(its, "timeout", None) == getattr(mine, "timeout", None)
    finally:
        await other.aclose()
