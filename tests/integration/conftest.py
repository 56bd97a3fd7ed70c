"""A fleet in this process, and a proxy before its server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from playhead.runtime.embedded.server import EmbeddedServer
from testkit.proxy import Proxy
from tests.support.fleet import Fleet

__all__: list[str] = []


@pytest.fixture
async def proxy(redis_server: EmbeddedServer) -> AsyncIterator[Proxy]:
    """A proxy before the shared server."""
    async with Proxy(redis_server.port).serving() as made:
        yield made


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach servers on loopback directly, whatever proxies the environment names."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def fleet(redis_url: str, prefix: str) -> Fleet:
    """A fleet without a worker or a client."""
    return Fleet(redis_url, prefix)
