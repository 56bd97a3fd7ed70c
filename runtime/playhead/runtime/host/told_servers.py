"""Tells MCP servers of the calls of hosted runs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from playhead.runtime.host.put_once import put_once

__all__ = ["tell_servers"]

_SESSION: Final = "mcp.client.session"


def tell_servers(about: Callable[[], dict[str, Any]]) -> None:
    """Let each call through a `ClientSession` of MCP's SDK, by whichever framework, have what `about` gives there in its `_meta`.

    A value of the caller's own with the same key counts instead. Nothing is done if the SDK has not been imported, because a
    session is an object of it.
    """
    session: Any = getattr(sys.modules.get(_SESSION), "ClientSession", None)  # None while a thread imports the module
    if session is None:
        return

    def tells(call_tool: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def told(*given: Any, meta: dict[str, Any] | None = None, **options: Any) -> Awaitable[Any]:
            if here := about():
                meta = {**here, **(meta or {})}
            return call_tool(*given, **options) if meta is None else call_tool(*given, meta=meta, **options)

        return told

    put_once(session, "call_tool", tells)
