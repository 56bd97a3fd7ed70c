"""Runs on the web, for Starlette and FastAPI: a run becomes a response that a browser can leave and rejoin.

    from playhead.client.web import RunStreams

    streams = RunStreams(client)

    @app.get("/runs/{run_id}/events")
    async def events(request: Request, run_id: str) -> Response:
        return await streams.response(request, run_id)

It needs Starlette: the extra `web` of `playhead-client`.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("starlette") is None:
    raise ModuleNotFoundError(
        "playhead.client.web needs starlette: pip install 'playhead-client[web]'", name="starlette"
    )

from playhead.client.web.errors import error_response
from playhead.client.web.frames import Show
from playhead.client.web.opening import opened
from playhead.client.web.request import Media
from playhead.client.web.streams import RunStreams

__all__ = ["Media", "RunStreams", "Show", "error_response", "opened"]
