"""An agent whose tool kills its process, and one that is only beside it."""

from __future__ import annotations

import os
import signal
from typing import Any

import anyio

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.models import ScriptedModel, tool_call

__all__ = ["guilty", "innocent"]


@tool
def poison() -> str:
    """Take the process down."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool
async def work() -> str:
    """Take longer than the poison."""
    await anyio.sleep(0.2)
    return "done"


def _works(messages: Messages) -> Any:
    return tool_call("work", {}) if len(messages) < 4 else "All done."


guilty = Agent(name="guilty", model=ScriptedModel([tool_call("poison", {})], repeat=True), tools=[poison])
innocent = Agent(name="innocent", model=ScriptedModel([_works], repeat=True), tools=[work])
