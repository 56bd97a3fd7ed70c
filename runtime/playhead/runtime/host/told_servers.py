"""Tells MCP servers of the calls of hosted runs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

__all__ = ["tell_servers"]

_SESSION: Final = "mcp.client.session"
_SEAM: Final = "__playhead_told__"


def tell_servers(about: Callable[[], dict[str, Any]]) -> None:
    """Let each call through a `ClientSession` of MCP's SDK, by whichever framework, have what `about` gives there in its `_meta`.

    A value of the caller's own with the same key counts instead. Nothing is done if the SDK has not been imported: then
    there are no sessions.
    """
    sdk = sys.modules.get(_SESSION)
    session: Any = getattr(sdk, "ClientSession", None)  # None while another thread imports the module
    if session is None or hasattr(session.call_tool, _SEAM):
        return
    call_tool: Callable[..., Awaitable[Any]] = session.call_tool

    @wraps(call_tool)
    def told(*given: Any, meta: dict[str, Any] | None = None, **options: Any) -> Awaitable[Any]:
        if here := about():
            meta = {**here, **(meta or {})}
        return call_tool(*given, **options) if meta is None else call_tool(*given, meta=meta, **options)

    setattr(told, _SEAM, True)
    session.call_tool = told
