"""The agent that a tool of Strands sees: what it may use of its call's run, and a clear error for anything else."""

from __future__ import annotations

import copy
import threading
from functools import cached_property
from typing import Any, Final, NoReturn

from strands.interrupt import Interrupt, _InterruptState  # pyright: ignore[reportPrivateUsage]
from strands.sandbox.not_a_sandbox_local_environment import NotASandboxLocalEnvironment

from playhead.runtime.core.converse import Messages
from playhead.runtime.tools.agent_state import StateOfCall
from playhead.runtime.tools.context import ToolContext

__all__ = ["AgentOfCall"]

_OFFERED: Final = "name, messages, state, sandbox, cancel_signal and cancel(message=…)"


class AgentOfCall:
    """In the place of Strands' `Agent` for one attempt at one call; usable from any thread.

    An attribute that it lacks is an `AttributeError`, which the model gets as the result of the call.

    Attributes:
        name: The name of the agent that runs the tool.
        cancel_signal: Set when the run is being cancelled.
        state: The agent's key-value state, as in `ToolContext`.
    """

    def __init__(self, context: ToolContext) -> None:
        self.name: str = context.agent_name
        self.cancel_signal: threading.Event = context.cancel_signal
        self._cancel_signal = context.cancel_signal  # Strands' MCP tools read this one
        answered = {asked: Interrupt(asked, "", response=given) for asked, given in context.responses.items()}
        self._interrupt_state = _InterruptState(interrupts=answered)  # Strands' ToolContext reads it
        self.state: StateOfCall = context.state
        self._context = context

    @cached_property
    def messages(self) -> Messages:
        """A copy of the conversation, the message with this call included."""
        return copy.deepcopy(list(self._context.messages))

    @cached_property
    def sandbox(self) -> NotASandboxLocalEnvironment:
        """The host of the worker, without isolation: Strands' default. Fresh for each call."""
        return NotASandboxLocalEnvironment()

    def cancel(self, *, message: str | None = None, after_current_tools: bool = False) -> None:
        """As `ToolContext.stop_run`: the other calls of the message always run to their end."""
        self._context.agent.cancel(message=message, after_current_tools=after_current_tools)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a tool of Strands in playhead cannot use agent.{name}; it can use {_OFFERED}")

    def __deepcopy__(self, memo: dict[int, Any]) -> AgentOfCall:
        return self  # a tool may copy its invocation_state; the context has locks, which cannot be copied
