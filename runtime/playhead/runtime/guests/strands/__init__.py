"""Agents of the Strands Agents SDK as TARGETs. Needs `playhead-runtime[strands]`."""

from __future__ import annotations

from playhead.runtime.guests.strands.guest import StrandsGuest
from playhead.runtime.guests.strands.hosted import replaying

__all__ = ["StrandsGuest", "replaying"]
