"""Graphs of LangGraph as TARGETs. Needs `playhead-runtime[langgraph]`."""

from __future__ import annotations

from playhead.runtime.guests.langgraph.guest import LangGraphGuest

__all__ = ["LangGraphGuest"]
