"""What a hook sees of the agent, in one run."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

from playhead.runtime.core.converse import Messages
from playhead.runtime.loop.hooks import Moment

__all__ = ["AgentInRun"]


class AgentInRun:
    """The agent with the history of one run: a worker's agent serves many runs, so it has no history of its own.

    Every other attribute is that of the agent. None can be set.

    Attributes:
        run_id: The run.
        session_id: Its session; None if it has none.
        messages: A copy of its history.
        cancel_signal: Set as soon as the run is being cancelled. Read-only for hooks.
        state: The agent's key-value state in the run. What a hook changes is stored, and kept with the session.
    """

    def __init__(self, agent: Any, moment: Moment) -> None:
        self.__dict__.update(
            _agent=agent,
            _state=moment.state,
            run_id=moment.run_id,
            session_id=moment.state.session,
            cancel_signal=moment.cancel_signal,
            state=moment.store,
        )

    @cached_property
    def messages(self) -> Messages:
        return copy.deepcopy(list(self._state.messages))

    def __getattr__(self, name: str) -> Any:
        if name == "cancel":  # that of the agent would cancel a call in this process, and none of a worker's runs
            raise AttributeError(
                "a hook cancels by its event, as event.cancel_tool or event.cancel, and a tool by stop_run"
            )
        return getattr(self.__dict__["_agent"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a hook cannot set {name!r} of its agent: all runs of the agent share it")

    def __repr__(self) -> str:
        return f"<{self._agent!r} in run {self.run_id}>"
