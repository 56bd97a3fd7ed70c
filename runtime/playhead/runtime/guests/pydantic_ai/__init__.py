"""Agents of pydantic-ai as TARGETs. Needs `playhead-runtime[pydantic-ai]`."""

from __future__ import annotations

from playhead.runtime.guests.extras import needs

needs("pydantic_ai", extra="pydantic-ai", of="agents of pydantic-ai")

from playhead.runtime.guests.pydantic_ai.guest import PydanticAIGuest  # noqa: E402 - it imports the framework

__all__ = ["PydanticAIGuest"]
