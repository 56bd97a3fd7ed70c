"""What an MCP server is told of the call of a guest that it runs."""

from __future__ import annotations

from typing import Any, Final

from playhead.runtime.host.current import current_call
from playhead.runtime.tools.mcp.server import EFFECT_KEY

__all__ = ["about_call"]

_RUN: Final = "playhead/run_id"
_ATTEMPT: Final = "playhead/attempt"


def about_call() -> dict[str, Any]:
    """The effect key, the run and the attempt of the tool call in whose body this code runs, for `_meta`; empty outside of one."""
    call = current_call()
    return {} if call is None else {EFFECT_KEY: call.effect_key, _RUN: call.run_id, _ATTEMPT: call.attempt}
