"""A browser without a network: one request to an application, whose response a test takes as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from starlette.types import ASGIApp, Message

__all__ = ["Answer", "Browser", "ServerSent", "browse", "get"]

LIMIT_S = 30.0


class ServerSent(NamedTuple):
    """A server-sent event; `id` and `name` are empty if it has none."""

    id: str
    name: str
    data: Any


class Browser:
    """A request under way.

    Attributes:
        status: The response's status; 0 before it is known.
        headers: The response's headers.
        body: What was sent so far.
        ended: Whether the body is whole.
        reading: Whether what is sent is taken; else the application waits in `send`.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self._reads = anyio.Event()
        self._reads.set()
        self._news = anyio.Event()
        self._left = anyio.Event()

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    def pause(self) -> None:
        """Take nothing from now on."""
        self._reads = anyio.Event()

    def resume(self) -> None:
        """Take what waits, and what comes."""
        self._reads.set()

    async def until(self, wanted: bytes) -> None:
        """Wait until the body holds `wanted`."""
        while wanted not in self.body:
            assert not self.ended, self.body
            await self._news.wait()

    async def until_ended(self) -> None:
        """Wait until the body is whole."""
        while not self.ended:
            await self._news.wait()

    @property
    def events(self) -> list[ServerSent]:
        """The server-sent events so far, without comments."""
        found: list[ServerSent] = []
        for block in self.body.decode().split("\n\n"):
            pairs = [line.partition(": ") for line in block.split("\n") if not line.startswith(":")]
            fields = {name: value for name, _, value in pairs}
            if "data" in fields:
                found.append(ServerSent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])))
        return found

    async def receive(self) -> Message:
        """For the application."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """For the application."""
        await self._reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.ended = not message.get("more_body", False)
        news, self._news = self._news, anyio.Event()
        news.set()


@asynccontextmanager
async def browse(
    app: ASGIApp, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> AsyncGenerator[Browser]:
    """Make a request; at the end of the block the browser leaves, and the application must return."""
    place, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": place,
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    browser = Browser()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                await app(scope, browser.receive, browser.send)

            tasks.start_soon(run)
            yield browser
            browser.leave()


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes
    events: list[ServerSent]

    @property
    def error(self) -> dict[str, Any]:
        """The error of a JSON body."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)["error"]


async def get(app: ASGIApp, path: str, **headers: str) -> Answer:
    """Make a request and wait for the whole response; in `headers` an underscore is a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with browse(app, path, headers=named) as browser:
        await browser.until_ended()
    return Answer(browser.status, browser.headers, browser.body, browser.events)
