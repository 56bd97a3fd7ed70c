"""Graphs of LangGraph as TARGETs. Needs `playhead-runtime[langgraph]`."""

from __future__ import annotations

from playhead.runtime.guests.extras import needs

needs("langgraph", extra="langgraph", of="graphs of LangGraph")

from playhead.runtime.guests.langgraph.guest import LangGraphGuest  # noqa: E402 - it imports the framework

__all__ = ["LangGraphGuest"]
