"""Graphs of LangGraph as TARGETs. Needs `playhead-runtime[langgraph]`."""

from __future__ import annotations

try:
    import langgraph as _framework
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "graphs of LangGraph need the extra langgraph: pip install 'playhead-runtime[langgraph]'", name="langgraph"
    ) from _error

from playhead.runtime.guests.langgraph.guest import LangGraphGuest

__all__ = ["LangGraphGuest"]

del _framework
