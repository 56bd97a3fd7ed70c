"""Options in a URL that another program may want cannot break the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "options",
    [
        "decode_responses=true",
        "decode_responses=true&encoding=latin-1",
        "max_connections=1",
        "protocol=3",
        "retry_on_timeout=true&retry=5",
        "health_check_interval=1",
        "timeout=0.01&max_connections=2",
        "socket_timeout=1.5",
        "socket_keepalive=true&client_name=ours",
    ],
)
async def test_a_worker_and_a_client_work_whatever_the_url_says(fleet: Fleet, options: str) -> None:
    url = f"{fleet.url}?{options}"
    agent = Agent(ScriptedModel(["Done."], repeat=True), name="agent", callback_handler=None)
    log = RedisLog(connect(url), prefix=fleet.prefix)
    async with fleet.worker(agent, log=log), Client(url, prefix=fleet.prefix) as client:
        run = await client.start("agent", "Hi", session_id="ada")
        assert str(await run.result()) == "Done.\n"
        assert [info.state for info in await client.runs()] == ["completed"]
        assert len(await client.workers()) == 1
        assert await client.log.messages("ada")


async def test_a_wait_for_work_ends_before_the_time_limit_of_the_url(fleet: Fleet) -> None:
    log = RedisLog(connect(f"{fleet.url}?socket_timeout=1"), prefix=fleet.prefix)
    assert await log.wait_for_work(["agent"], worker="w", timeout=2) is None
    await log.aclose()
