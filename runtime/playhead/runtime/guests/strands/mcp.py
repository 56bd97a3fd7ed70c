"""What an MCP server is told of the call of a Strands agent that it runs."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from playhead.runtime.host.current import current_call
from playhead.runtime.tools.mcp.server import EFFECT_KEY

__all__ = ["tell_server"]

_RUN: Final = "playhead/run_id"
_ATTEMPT: Final = "playhead/attempt"
_TOLD: WeakSet[Any] = WeakSet()


def tell_server(client: Any) -> None:
    """Let the calls of an `MCPClient` that a hosted agent makes have the run, the effect key and the attempt in their `_meta`."""
    if client in _TOLD:
        return
    _TOLD.add(client)
    calls = client.call_tool_async

    async def told(*args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        call = current_call()
        if call is not None:
            own = meta if meta is not None else vars(client).get("_meta")  # Strands has no public name for it
            about = {EFFECT_KEY: call.effect_key, _RUN: call.run_id, _ATTEMPT: call.attempt}
            meta = {**(own or {}), **about}
        return await calls(*args, meta=meta, **kwargs)

    client.call_tool_async = told
