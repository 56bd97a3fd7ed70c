"""The backends every contract test runs against: this process, fakeredis, a real server, sentinels, a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest

from playhead.runtime.log.interface import Log
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from tests.contract.contract_file import ReadFromFiles

__all__: list[str] = []


@pytest.fixture(params=["memory", "file", "fakeredis", "redis", "sentinel", "cluster"])
def backend(request: pytest.FixtureRequest) -> str:
    """`memory`, `file`, `fakeredis`, or the URL of a real server, of sentinels, or of a cluster."""
    kind: str = request.param
    if kind in ("memory", "file", "fakeredis"):
        return kind
    return request.getfixturevalue("redis_url" if kind == "redis" else f"{kind}_url")


@pytest.fixture
async def log(backend: str, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Log]:
    """An empty log of that backend."""
    if backend == "file":
        yield ReadFromFiles(tmp_path_factory.mktemp("files"))
        return
    if backend == "memory":
        yield MemoryLog()
        return
    if backend == "fakeredis":
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), protocol=2)
    else:
        client = connect(backend)
    redis_log = RedisLog(client, prefix=prefix)
    try:
        yield redis_log
    finally:
        await redis_log.aclose()
