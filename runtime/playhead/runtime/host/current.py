"""`current_call`: which call runs, for any code below it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.host.keys import SCOPE
from playhead.runtime.host.told_servers import tell_servers
from playhead.runtime.tools.mcp.server import EFFECT_KEY

__all__ = ["Call", "calling", "current_call", "in_scope"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that is running.

    Attributes:
        run_id: The run.
        effect_key: The same in every attempt at this call, and different for every call: an idempotency key.
        attempt: 1 for the first start of this call, 2 if a worker that died had started it.
        tool_use: The request: `name`, `input` and `toolUseId`.
    """

    run_id: str
    effect_key: str
    attempt: int
    tool_use: ToolUse


_CALL: ContextVar[Call | None] = ContextVar("playhead_call", default=None)


def current_call() -> Call | None:
    """The tool call in whose body this code runs, in whatever depth and thread; None outside of the tools of a guest."""
    return _CALL.get()


def _about() -> dict[str, Any]:
    """What an MCP server is told of the call in whose body this code runs."""
    call = current_call()
    if call is None:
        return {}
    return {EFFECT_KEY: call.effect_key, "playhead/run_id": call.run_id, "playhead/attempt": call.attempt}


@contextmanager
def in_scope(scope: str) -> Generator[None]:
    """Let what the block does be named after this scope."""
    token = SCOPE.set(scope)
    try:
        yield
    finally:
        SCOPE.reset(token)


@contextmanager
def calling(call: Call, *, lane: str) -> Generator[None]:
    """Let the block, and the tasks that begin in it, be the body of a call, of which the MCP servers that it calls are told."""
    tell_servers(_about)
    current = _CALL.set(call)
    try:
        with in_scope(lane):
            yield
    finally:
        _CALL.reset(current)
