"""A web service that is started before its server waits for it, says why, and answers 503 until then."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from playhead.client import Client
from playhead.client.web import RunStreams, error_response, opened
from playhead.runtime import PlayheadError
from playhead.runtime.core.errors import RedisAuthError
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.browsers import get

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LINES = {"accept": "application/x-ndjson"}


class Heard(logging.Handler):
    """Keeps what is logged, and tells when the server is there."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.there = anyio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        if "The server is there" in self.said[-1]:
            self.there.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What the opening of clients logs."""
    logger, handler = logging.getLogger(opened.__module__), Heard()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def site(client: Client) -> Starlette:
    """A service with a stream of a run and a list of sessions."""
    streams = RunStreams(client)

    async def events(request: Request) -> Response:
        return await streams.response(request, request.path_params["run_id"])

    async def sessions(_: Request) -> Response:
        return PlainTextResponse(str(len(await client.sessions())))

    routes = [Route("/runs/{run_id}", events), Route("/sessions", sessions)]
    return Starlette(routes=routes, exception_handlers={PlayheadError: error_response})


async def test_a_service_answers_503_until_its_server_is_there(heard: Heard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    client = Client(f"redis://127.0.0.1:{port}")
    app = site(client)

    async def status(path: str) -> int:
        return (await get(app, path, **LINES)).status

    async with opened(client):
        assert (await status("/runs/none"), await status("/sessions")) == (503, 503)
        async with EmbeddedServer.running(port=port, durable=False):
            with anyio.fail_after(10):
                await heard.there.wait()
            assert (await status("/runs/none"), await status("/sessions")) == (404, 200)
    first, *others = heard.said
    assert f"127.0.0.1:{port}" in first
    assert first.endswith("The service waits for it.")
    assert "The server is there" in others[-1]
    with pytest.raises(PlayheadError, match="the client is not open"):
        await client.sessions()


async def test_a_service_ends_while_it_waits_and_one_that_is_refused_does_not_begin() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    async with opened(Client(f"redis://127.0.0.1:{port}")):
        pass
    async with EmbeddedServer.running(durable=False) as server:
        with pytest.raises(RedisAuthError):
            async with opened(Client(server.url.replace("redis://", "redis://stranger:wrong@"))):
                pass
