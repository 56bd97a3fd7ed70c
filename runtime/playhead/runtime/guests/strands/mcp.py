"""What an MCP server is told of the call of a Strands agent that it runs."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from playhead.runtime.guests.told_servers import about_call

__all__ = ["tell_server"]

_TOLD: WeakSet[Any] = WeakSet()


def tell_server(client: Any) -> None:
    """Let the calls of an `MCPClient` that a hosted agent makes have the run, the effect key and the attempt in their `_meta`."""
    if client in _TOLD:
        return
    _TOLD.add(client)
    calls = client.call_tool_async

    async def told(*args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        if about := about_call():
            own = meta if meta is not None else vars(client).get("_meta")  # Strands has no public name for it
            meta = {**(own or {}), **about}
        return await calls(*args, meta=meta, **kwargs)

    client.call_tool_async = told
