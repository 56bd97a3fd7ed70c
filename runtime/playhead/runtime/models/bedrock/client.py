"""The SDK of AWS: its sessions and clients. It is imported late, because that takes a second."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread

__all__ = ["SERVICE", "SharedClient", "load_sdk", "new_session"]

SERVICE: Final = "bedrock-runtime"

_CLOSE_S: Final = 5.0
_READ_TIMEOUT_S: Final = 120
"""A model that reasons may say nothing for longer than the SDK's 60 s."""

_MOST_CONNECTIONS: Final = 10_000
"""The SDK's 10 would have the calls of a worker wait for one another."""


class SharedClient:
    """The client of one event loop: the first of the calls that overlap opens it, the last of them closes it.

    A client of its own for each call would read the trust settings each time, which takes 40 ms of CPU.

    Args:
        session: The SDK's session of this event loop.
    """

    def __init__(self, session: Any) -> None:
        self.session: Any = session
        self._users = 0
        self._opening = anyio.Lock()
        self._opened: Any = None
        self._client: Any = None

    @asynccontextmanager
    async def using(self, args: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Yield the client, which is made with `args` if no other call uses one."""
        self._users += 1
        try:
            async with self._opening:
                if self._client is None:
                    opened = self.session.create_client(SERVICE, **{"config": _config(), **args})
                    self._client = await opened.__aenter__()
                    self._opened = opened
            yield self._client
        finally:
            self._users -= 1
            if not self._users and self._opened is not None:
                opened, self._opened, self._client = self._opened, None, None
                # Shielded: a cancelled call must still return its connection.
                with anyio.move_on_after(_CLOSE_S, shield=True):
                    await opened.__aexit__(None, None, None)


def _config() -> Any:
    from aiobotocore.config import AioConfig

    retries = {"total_max_attempts": 1}  # the loop retries
    return AioConfig(retries=retries, read_timeout=_READ_TIMEOUT_S, max_pool_connections=_MOST_CONNECTIONS)


def new_session() -> Any:
    """A session, which finds the credentials and caches them."""
    from aiobotocore.session import get_session

    session = get_session()
    session.register_component("data_loader", _loader())
    return session


async def load_sdk() -> None:
    """Import the SDK in a thread, once: a blocked event loop counts as stuck."""
    if not _loader.cache_info().currsize:
        await anyio.to_thread.run_sync(_loader)


@functools.cache
def _loader() -> Any:
    """The SDK's descriptions of the service, read once."""
    from botocore.loaders import create_loader

    loader: Any = create_loader()
    for kind in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model(SERVICE, kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return loader
