"""What a tool may know about the call it serves."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from playhead.runtime.types import ToolUse

__all__ = ["ToolContext", "effect_key"]


def effect_key(run_id: str, tool_use: ToolUse) -> str:
    """`<run id>/<toolUseId>`: what `tool.started` stores and the tool is given must be one key."""
    return f"{run_id}/{tool_use['toolUseId']}"


@dataclass(slots=True, kw_only=True)
class ToolContext:
    """One attempt at one tool call; made by the runtime, usable from any thread.

    Attributes:
        tool_use: The model's request.
        run_id: The run.
        invocation_state: The caller's own values for this invocation; never sent to a model.
        agent_name: The agent that runs the tool.
        cancel_signal: Set when the run is being cancelled. Read-only for tools.
        attempt: 1 for the first start of this call, 2 if a former owner of the run had started it.
    """

    tool_use: ToolUse
    run_id: str
    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    agent_name: str = ""
    cancel_signal: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    attempt: int = 1
    _abandoned: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    @property
    def effect_key(self) -> str:
        """`<run id>/<toolUseId>`: the same over retries and takeovers, so fit to be an idempotency key."""
        return effect_key(self.run_id, self.tool_use)

    @property
    def cancel_requested(self) -> bool:
        """Whether the body should stop: the run is being cancelled, or nobody waits for this call any more.

        A body in a thread cannot be stopped from outside; a long one asks this between its steps.
        """
        return self.cancel_signal.is_set() or self._abandoned.is_set()

    def abandon(self) -> None:
        """Tell the body that its result is no longer awaited (its time is up, or its stream was closed)."""
        self._abandoned.set()
