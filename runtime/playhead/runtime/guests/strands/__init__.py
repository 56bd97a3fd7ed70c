"""Agents of the Strands Agents SDK as TARGETs. Needs `playhead-runtime[strands]`, with strands-agents 1.62 or newer."""

from __future__ import annotations

from playhead.runtime.guests.extras import needs

needs("strands", extra="strands", of="agents of Strands")
needs("strands.middleware", extra="strands", of="agents of Strands", newer=("strands-agents", "1.62"))

from playhead.runtime.guests.strands.guest import StrandsGuest  # noqa: E402 - it imports the framework
from playhead.runtime.guests.strands.hosted import replaying  # noqa: E402

__all__ = ["StrandsGuest", "replaying"]
