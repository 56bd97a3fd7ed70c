"""What a hook sees of the agent, in one run."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

from playhead.runtime.core.cancels import cancel_of
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
            _cancels=moment.cancels,
        )

    @cached_property
    def messages(self) -> Messages:
        return copy.deepcopy(list(self._state.messages))

    def cancel(self, *, message: str | None = None, after_current_tools: bool = False) -> None:
        """Cancel the run, as Strands' `agent.cancel` in a hook: it is in the log before what the hook was asked about.

        The model is not called again, and calls that have not begun are not made. At `BeforeToolCallEvent`, `AfterToolCallEvent`
        and `AfterToolsEvent` all calls of the message run to their end first; at `AfterInvocationEvent` it has no effect.

        Args:
            message: The text of the run's last message.
            after_current_tools: Whether the calls of the current message run to their end first. A run whose model
                answers without a call ends as if there were no cancel.

        Raises:
            TypeError: If an argument has the wrong type.
            RuntimeError: If the event is over.
        """
        self.__dict__["_cancels"].ask(cancel_of(message, after_current_tools))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_agent"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a hook cannot set {name!r} of its agent: all runs of the agent share it")

    def __repr__(self) -> str:
        return f"<{self._agent!r} in run {self.run_id}>"
