"""A response that streams one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from playhead.client.reader import RunReader
from playhead.client.tails.notice import Notice
from playhead.client.tails.state import OnPause
from playhead.client.web.errors import told
from playhead.client.web.frames import Frames
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.events import Projection
from playhead.runtime.core.records import Entry

__all__ = ["HEADERS", "RunResponse", "Source", "Streams"]

HEADERS: Final = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""For proxies: keep nothing, compress nothing (that would buffer), and pass each part on at once."""

_PART_BYTES: Final = 1 << 16
_LAST_S: Final = 1.0
"""For the end of the body, which a browser that does not read may never take."""


class Source(NamedTuple):
    """A run, and the place in it from which it is streamed."""

    run: RunReader
    after: Cursor | None
    before: Sequence[Entry]
    """What the projection needs to know of the time before `after`."""
    on_pause: OnPause
    wait_for_worker: float | None


class Streams(Protocol):
    """What an open stream needs of `RunStreams`."""

    def add(self, stream: RunResponse) -> None: ...

    def remove(self, stream: RunResponse) -> None: ...


class RunResponse(Response):
    """Streams one run until it ends, the browser leaves, or it is stopped.

    A browser that reads too slowly stops the stream in `send`; then the tail drops what is published and reads the log
    later, so that neither buffers more than a bounded part of the run.

    Attributes:
        spoke: When something was sent last, by the monotonic clock.
    """

    def __init__(self, streams: Streams, source: Source, frames: Frames, *, begin: bytes) -> None:
        self.status_code = 200
        self.media_type: str | None = frames.media_type
        self.background: BackgroundTask | None = None
        self.init_headers(HEADERS)
        self.spoke: float = time.monotonic()
        self._streams = streams
        self._source = source
        self._frames = frames
        self._begin = begin
        self._between: list[bytes] = []  # notices and heartbeats that are not sent yet
        self._lock = anyio.Lock(fast_acquire=True)
        self._tasks: TaskGroup | None = None
        self._send: Send

    def beat(self) -> None:
        """Send a heartbeat, unless something waits to be sent already."""
        if not self._between and not self._lock.locked():
            self._put_between(self._frames.heartbeat)

    def start(self, job: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a task until the stream ends."""
        if self._tasks is not None:
            self._tasks.start_soon(job)

    def stop(self) -> None:
        """End the stream without an `end`, so that the browser connects again."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        left = False
        if scope["method"] != "HEAD":
            left = await self._stream(receive)
        if not left:
            with anyio.move_on_after(_LAST_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        if self.background is not None:
            await self.background()

    async def _stream(self, receive: Receive) -> bool:
        """Stream; returns whether the browser has left."""
        left = False

        async def wait_for_leaving() -> None:
            nonlocal left
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._streams.add(self)
            try:
                tasks.start_soon(wait_for_leaving)
                await self._send_run()
            finally:
                self._streams.remove(self)
            tasks.cancel_scope.cancel()
        return left

    async def _send_run(self) -> None:
        run, after, before, *_ = self._source
        projection = Projection(run.id, after=after)
        parts = [self._begin]
        for entry in before:
            parts += map(self._frames.event, projection.feed(entry))
        await self._say(parts)
        error: Exception | None = None
        if not projection.ended:
            try:
                await self._follow(projection, before[-1] if before else 0)
            except PlayheadError as reason:
                if type(reason) is PlayheadError:  # the client was closed: the run can be read again elsewhere
                    return
                error = reason
        error = error or projection.error
        await self._say([self._frames.end(None if error is None else told(error))])

    async def _follow(self, projection: Projection, seen: Cursor | Entry) -> None:
        """Send what comes after `seen`; raises as `Tail.next`."""
        run, _, _, on_pause, wait_for_worker = self._source
        self._source = self._source._replace(before=())  # a waiting stream holds no records
        async with run.open_tail(
            run.id, after=seen, wait_for_worker=wait_for_worker, on_pause=on_pause, on_notice=self._notice
        ) as tail:
            del seen
            while (page := await tail.next()) is not None:
                parts: list[bytes] = []
                size = 0
                for segment in page:
                    for event in projection.events(segment):
                        parts.append(self._frames.event(event))
                        size += len(parts[-1])
                        if size >= _PART_BYTES:
                            await self._say(parts)
                            parts, size = [], 0
                await self._say(parts)
                page = segment = event = None
                parts = []

    def _notice(self, notice: Notice) -> None:
        """Called by the tail while it waits."""
        self._put_between(self._frames.notice(notice))

    def _put_between(self, part: bytes) -> None:
        """Send a part in a task of its own, because the tail waits: to wake it would restart its clock."""
        self._between.append(part)
        if len(self._between) == 1:
            self.start(self._say)

    async def _say(self, parts: Sequence[bytes] = ()) -> None:
        """Send what was put between, then these parts; one caller at a time."""
        async with self._lock:
            between, self._between = self._between, []
            body = b"".join([*between, *parts])
            if body:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self.spoke = time.monotonic()
