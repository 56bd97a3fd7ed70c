"""`RunStreams`: responses that stream runs, and the clock that they share.

A stream that waits for its run holds two tasks, one that sends and one that waits for the browser to leave, and no timer:
one clock tells all of them when a heartbeat is due, and when the server shuts down.
"""

from __future__ import annotations

import signal
import time
from typing import Any, Final, get_args

import anyio
from starlette.requests import Request
from starlette.responses import Response

from playhead.client.client import Client
from playhead.client.event_stream import prelude
from playhead.client.tails.notice import Notice
from playhead.client.tails.state import OnPause
from playhead.client.web.errors import error_response, refusal, told
from playhead.client.web.frames import Show, frames_of
from playhead.client.web.request import Media, asked_cursor, asked_media
from playhead.client.web.response import HEADERS, RunResponse, Source
from playhead.runtime.core.arguments import check_callable, check_choice, check_number
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.errors import GapError, LogUnavailableError, PlayheadError

__all__ = ["RunStreams"]

_TICK_S: Final = 0.5
_SETTLE_S: Final = 2.0
"""How long a cursor beyond the log may wait for its record: an owner that sends lost records again does it at once."""


def _server_ends() -> bool:
    """Whether uvicorn, which makes a method of its server the handler of SIGTERM, shuts down.

    It waits for its responses before it tells the application, so the application must look. Where its limit of requests
    is reached it sets no flag, but no longer listens.
    """
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if getattr(server, "should_exit", False) is True:
        return True
    listening: Any = getattr(server, "servers", None)
    return isinstance(listening, list) and not any(one.is_serving() for one in listening)


class RunStreams:
    """Makes responses that stream runs; one for all requests of a process.

    A browser that leaves does not stop its run. Under uvicorn the streams end when the server shuts down; under another
    server that waits for its responses call `shutdown` when it is asked to end.

    Args:
        client: An open client, or one that is open when `response` is called.
        heartbeat_s: Seconds of silence after which a comment is sent, so that proxies keep the connection.
        retry_s: Seconds after which a browser that lost the connection connects again.

    Raises:
        ValueError, TypeError: If a time is not a number above 0.
    """

    def __init__(self, client: Client, *, heartbeat_s: float = 15.0, retry_s: float = 2.0) -> None:
        check_number("heartbeat_s", heartbeat_s, above=0.0)
        check_number("retry_s", retry_s, above=0.0)
        self._client = client
        self._heartbeat_s = heartbeat_s
        self._retry_ms = round(retry_s * 1000)
        self._open: set[RunResponse] = set()
        self._host: RunResponse | None = None
        self._ending = False

    @property
    def open(self) -> int:
        """How many streams are open now."""
        return len(self._open)

    def shutdown(self) -> None:
        """End all streams, without an `end` event, so that browsers connect again; new ones are refused from now on."""
        self._ending = True
        for one in tuple(self._open):
            one.stop()

    async def response(
        self,
        request: Request,
        run_id: str,
        *,
        media: Media | None = None,
        after: Cursor | None = None,
        show: Show | None = None,
        on_pause: OnPause = "end",
        wait_for_worker: float | None = None,
    ) -> Response:
        """The response that streams a run, from the cursor that the request names to the end of the run.

        The cursor is that of the header `Last-Event-ID`, else of the query parameter `after`. What is wrong is found before
        the stream begins: the response is then JSON with status 400, 404, 406 or 409; 204 if nothing comes after the cursor,
        which tells an `EventSource` not to connect again. If Redis cannot be reached the status is 503; of server-sent
        events it is 200 with the notice `unreachable` and nothing more, because only then a browser tries again.

        Args:
            request: The request, of Starlette or FastAPI.
            run_id: The run.
            media: The form; None for the one that the request's `Accept` prefers, server-sent events if it has none.
            after: The cursor for a request without one; None for the beginning.
            show: Gives what is sent for an event: plain data, or None to leave it out. By default the whole event, with tool
                inputs, results and the `invocation_state`; as plain text, the text of each finished message.
            on_pause: `end` if the run waits for responses, or `wait` and send a notice.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.

        Raises:
            ValueError, TypeError: If another argument than `run_id` is invalid.
        """
        if media is not None:
            check_choice("media", media, get_args(Media))
        check_choice("on_pause", on_pause, get_args(OnPause))
        check_number("wait_for_worker", wait_for_worker, optional=True)
        if show is not None:
            check_callable("show", show)
        parse_cursor(after)
        form = media or asked_media(request.headers.get("accept", ""))
        if form is None:
            text = "accepted are text/event-stream, application/x-ndjson and text/plain"
            return refusal(406, {"type": "NotAcceptable", "message": text})
        if self._ending or _server_ends():
            return self._later(form, LogUnavailableError("the server shuts down"))
        given = request.headers.get("last-event-id") or request.query_params.get("after") or ""
        try:
            source = await self._source(run_id, asked_cursor(run_id, given) or after, on_pause, wait_for_worker)
        except LogUnavailableError as error:
            return self._later(form, error, Notice("unreachable", run_id, str(error)))
        except (PlayheadError, ValueError) as error:
            return await error_response(request, error)
        if source is None:
            return Response(status_code=204)
        frames = frames_of(form, show)
        return RunResponse(self, source, frames, begin=frames.begin(self._retry_ms))

    async def _source(
        self, run_id: str, after: Cursor | None, on_pause: OnPause, wait_for_worker: float | None
    ) -> Source | None:
        """What is streamed; None if nothing comes after the cursor. Raises what is wrong with the run or the cursor."""
        run, place = self._client.run(run_id), parse_cursor(after)
        info = await run.info()
        before = None
        with anyio.move_on_after(_SETTLE_S if place.seq > info.head else None):
            before = await prelude(run, place)
        if before is None:
            raise GapError(run_id, expected=place.seq, found=None)
        over = info.ended or (info.state == "paused" and on_pause == "end")
        if over and place == parse_cursor(f"{info.head}-{info.epoch}"):
            return None
        return Source(run, after, before, on_pause, wait_for_worker)

    def _later(self, form: Media, error: Exception, notice: Notice | None = None) -> Response:
        """Ask the reader to come again."""
        data = told(error)
        if form != "sse":
            return refusal(503, data)
        frames = frames_of(form, None)
        body = frames.begin(self._retry_ms) + (b"" if notice is None else frames.notice(notice))
        return Response(body, 200, HEADERS, frames.media_type)

    # ------------------------------------------------------------------ of the open streams

    def add(self, stream: RunResponse) -> None:
        """A stream has begun. The clock runs in the tasks of one of the open streams."""
        self._open.add(stream)
        if self._ending:
            stream.stop()
        elif self._host is None:
            self._host = stream
            stream.start(self._clock)

    def remove(self, stream: RunResponse) -> None:
        """A stream has ended: if the clock ran in its tasks, it goes on in those of another."""
        self._open.discard(stream)
        if self._host is stream:
            self._host = next(iter(self._open), None)
            if self._host is not None and not self._ending:
                self._host.start(self._clock)

    async def _clock(self) -> None:
        while not _server_ends():
            await anyio.sleep(_TICK_S)
            silent_since = time.monotonic() - self._heartbeat_s
            for one in tuple(self._open):
                if one.spoke <= silent_since:
                    one.beat()
        self.shutdown()
