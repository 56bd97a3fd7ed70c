"""Agents of the OpenAI Agents SDK as TARGETs. Needs `playhead-runtime[openai-agents]`."""

from __future__ import annotations

from playhead.runtime.guests.extras import needs

needs("agents", extra="openai-agents", of="agents of the OpenAI Agents SDK")

from playhead.runtime.guests.openai_agents.guest import OpenAIAgentsGuest  # noqa: E402 - it imports the framework

__all__ = ["OpenAIAgentsGuest"]
