"""The server of `playhead dev`, which is started again when it dies."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from playhead.runtime.embedded.binary import EmbeddedServerError, PortTakenError
from playhead.runtime.embedded.server import EmbeddedServer

__all__ = ["DATA", "DEV_PORT", "DevServer", "server_of_dev"]

DATA: Final = Path(".playhead")
DEV_PORT: Final = 7379
"""The port of a `dev` that names none, if it is free: a URL that stays valid when `dev` is started again."""

_LOOK_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 2.0

logger: logging.Logger = logging.getLogger(__name__)


class DevServer:
    """A server on `.playhead/`, at one URL for as long as `keep_running` runs.

    Attributes:
        now: The server that runs now; another one after each restart.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        """Internal: use `server_of_dev`."""
        self.now: EmbeddedServer = server

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT`."""
        return self.now.url

    @property
    def port(self) -> int:
        """Its TCP port."""
        return self.now.port

    async def keep_running(self) -> None:
        """Start the server again, on the same port and data, each time it has ended. Runs until it is cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self.now.alive:
                continue
            logger.warning("the server has ended, killed or by itself; another starts at %s on the same data", self.url)
            await self.now.stop()  # frees the folder for the next one
            try:
                self.now = await EmbeddedServer.start(directory=DATA, port=self.port)
            except EmbeddedServerError as error:
                logger.warning("the server does not start: %s Trying again in %g s", error, _RETRY_SECONDS)
                await anyio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def server_of_dev(port: int | None, *, usual: int = DEV_PORT) -> AsyncGenerator[DevServer]:
    """A server on `.playhead/`: on the port that was given; without one on the usual port, or on any if that is in use."""
    try:
        server = DevServer(await EmbeddedServer.start(directory=DATA, port=usual if port is None else port))
    except PortTakenError:
        if port is not None:
            raise
        server = DevServer(await EmbeddedServer.start(directory=DATA))
    try:
        yield server
    finally:
        await server.now.stop()
