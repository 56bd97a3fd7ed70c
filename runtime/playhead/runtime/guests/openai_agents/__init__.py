"""Agents of the OpenAI Agents SDK as TARGETs. Needs `playhead-runtime[openai-agents]`."""

from __future__ import annotations

try:
    import agents as _agents
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "agents of the OpenAI Agents SDK need the extra openai-agents: pip install 'playhead-runtime[openai-agents]'",
        name="agents",
    ) from _error

from playhead.runtime.guests.openai_agents.guest import OpenAIAgentsGuest

__all__ = ["OpenAIAgentsGuest"]

del _agents
