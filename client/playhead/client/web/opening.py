"""Opens the client of a web service, also before there is a server."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio

from playhead.client.client import Client
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, UnusableServerError
from playhead.runtime.log.redis.connection import redact

__all__ = ["opened"]

logger: logging.Logger = logging.getLogger(__name__)

_EVERY_S: Final = 1.0


@asynccontextmanager
async def opened(client: Client) -> AsyncGenerator[Client]:
    """A client that is open while the service runs, for its lifespan: `async with opened(client): yield`.

    A service may be started before its server. As long as that cannot be reached, opening is tried again each second, and
    the methods of the client raise the reason, which `error_response` answers with status 503. Each new reason is logged.

    Raises:
        RedisAuthError, RedisTooOldError, UnusableServerError, ShardsError: If the server is there and cannot be used.
        PlayheadError: If the client is already open.
    """
    async with AsyncExitStack() as stack:
        reason = await _try_to_open(client, stack)
        if reason is None:
            yield client
            return
        logger.warning("%s The service waits for it.", reason)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_trying, client, stack, reason)
            yield client
            tasks.cancel_scope.cancel()


async def _try_to_open(client: Client, stack: AsyncExitStack) -> str | None:
    """Open the client until `stack` closes; why the server cannot be reached, if it cannot."""
    try:
        await stack.enter_async_context(client)
    except UnusableServerError:
        raise
    except LogUnavailableError as error:
        return str(error)
    return None


async def _keep_trying(client: Client, stack: AsyncExitStack, reason: str) -> None:
    while True:
        await anyio.sleep(_EVERY_S)
        try:
            now = await _try_to_open(client, stack)
        except PlayheadError as error:  # the service is running: it may not end because of this
            now = str(error)
        if now is None:
            logger.warning("The server is there: the service uses %s", redact(client.url))
            return
        if now != reason:
            logger.warning("%s The service waits for it.", reason := now)
