"""Agents of the Strands Agents SDK as TARGETs. Needs `playhead-runtime[strands]`, with strands-agents 1.62 or newer."""

from __future__ import annotations

from playhead.runtime.guests.strands.guest import StrandsGuest
from playhead.runtime.guests.strands.hosted import replaying

__all__ = ["StrandsGuest", "replaying"]
