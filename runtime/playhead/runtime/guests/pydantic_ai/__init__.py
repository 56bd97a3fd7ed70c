"""Agents of pydantic-ai as TARGETs. Needs `playhead-runtime[pydantic-ai]`."""

from __future__ import annotations

from playhead.runtime.guests.pydantic_ai.guest import PydanticAIGuest

__all__ = ["PydanticAIGuest"]
