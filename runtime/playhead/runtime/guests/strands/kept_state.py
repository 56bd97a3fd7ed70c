"""`agent.state` of a Strands agent, which is kept with the session of its runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from strands import Agent

from playhead.runtime.core.agent_state import MAX_STATE_BYTES
from playhead.runtime.core.records import StateChanged, now_ms

__all__ = ["KeptState"]

logger: logging.Logger = logging.getLogger(__name__)


class KeptState:
    """The state with which a run begins: that of its session, if one of its runs had any, else the agent's own."""

    def __init__(self, agent: Agent, stored: Mapping[str, Any] | None, *, kept: bool) -> None:
        self._agent = agent
        self._kept = kept
        if stored is not None:
            for key in agent.state.get():
                agent.state.delete(key)
            for key, value in stored.items():
                agent.state.set(key, value)
        self._before: dict[str, Any] = agent.state.get()

    def changed(self) -> StateChanged | None:
        """What the session is to keep; None if it has that, or the run has no session."""
        values = self._agent.state.get()
        if not self._kept or values == self._before:
            return None
        size = len(json.dumps(values))
        if size > MAX_STATE_BYTES:
            logger.warning(
                "agent.state has %d bytes, and a session keeps %d: it keeps the former state", size, MAX_STATE_BYTES
            )
            return None
        return StateChanged(at=now_ms(), values=values, begins=True)
