"""The agent of `playhead demo`: offline unless PLAYHEAD_MODEL names another model."""

from __future__ import annotations

import os

from playhead.runtime.agent.agent import Agent
from playhead.runtime.toolbox import calculator

__all__ = ["assistant"]

assistant: Agent = Agent(
    name="assistant",
    model=os.environ.get("PLAYHEAD_MODEL") or "demo",
    tools=[calculator],
    system_prompt="You are a helpful assistant. Use the calculator for arithmetic.",
)
