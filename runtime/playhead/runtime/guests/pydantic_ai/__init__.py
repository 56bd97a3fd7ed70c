"""Agents of pydantic-ai as TARGETs. Needs `playhead-runtime[pydantic-ai]`."""

from __future__ import annotations

try:
    import pydantic_ai as _framework
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "agents of pydantic-ai need the extra pydantic-ai: pip install 'playhead-runtime[pydantic-ai]'",
        name="pydantic_ai",
    ) from _error

from playhead.runtime.guests.pydantic_ai.guest import PydanticAIGuest

__all__ = ["PydanticAIGuest"]

del _framework
