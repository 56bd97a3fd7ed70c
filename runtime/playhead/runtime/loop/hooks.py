"""The part of an agent's hooks that the loop needs: a question for each event, and the values of the answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.converse import ContentBlock, Message, Prompt, ToolResult, ToolUse
from playhead.runtime.core.hook_verdicts import BatchVerdict, CallVerdict, InvocationVerdict, ResultVerdict
from playhead.runtime.core.state import RunState
from playhead.runtime.tools.agent_state import AgentState

__all__ = ["Cancels", "EndedCall", "Hooks", "Moment"]


class Cancels:
    """The cancels of the run that the hooks of one event ask for, from any thread.

    Args:
        signal: Set by one that does not wait for the current tools.
    """

    def __init__(self, signal: threading.Event) -> None:
        self._signal = signal
        self._asked: list[Cancel] = []
        self._over = False

    def ask(self, cancel: Cancel) -> None:
        """Ask for one.

        Raises:
            RuntimeError: If the event is over.
        """
        if self._over:
            raise RuntimeError(
                "a hook called event.agent.cancel() after its event: from elsewhere use run.cancel() of a client, or "
                "agent.cancel() of an agent in this process"
            )
        self._asked.append(cancel)
        if not cancel.after_current_tools:
            self._signal.set()

    def take(self) -> list[Cancel]:
        """Those of the event, which is over now."""
        self._over = True
        return self._asked


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run is when its hooks are asked.

    Attributes:
        run_id: The run.
        state: The fold of its records.
        invocation_state: What its tools get, too.
        cancel_signal: Set as soon as a cancel is delivered.
        store: The state of the agent, which hooks may change.
        cancels: Where hooks ask that the run is cancelled.
    """

    run_id: str
    state: RunState
    invocation_state: dict[str, Any]
    cancel_signal: threading.Event
    store: AgentState = field(default_factory=AgentState)
    cancels: Cancels = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cancels", Cancels(self.cancel_signal))


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A tool call that has a result.

    Attributes:
        use: The call as it ran.
        tool: The tool that ran it; None if none did.
        result: Its result.
        error: What its body raised.
        cancelled: The text with which a hook cancelled it.
        seconds: How long it ran; None if it did not.
    """

    use: ToolUse
    tool: Any
    result: ToolResult
    error: BaseException | None = None
    cancelled: str | None = None
    seconds: float | None = None


class Hooks(Protocol):
    """The hooks of an agent.

    Each method asks those of one event, one after the other, and raises what one of them raises. `event` is the name of
    an event, such as `BeforeToolCallEvent`.
    """

    def asks(self, event: str) -> bool:
        """Whether there is a hook of this event."""
        ...

    async def in_turn(self, calls: Sequence[int]) -> bool:
        """Whether calls that run in turn are settled in turn too, and not all before the first body; `calls` are their indexes."""
        ...

    async def before_invocation(self, moment: Moment, messages: list[Message]) -> InvocationVerdict:
        """Ask before the messages of the prompt enter the history."""
        ...

    async def after_invocation(self, moment: Moment, result: dict[str, Any] | None) -> Prompt:
        """Ask before the run ends; `result` is None if it fails. The answer is a prompt to go on with, or None."""
        ...

    async def before_model_call(self, moment: Moment) -> str | None:
        """Ask before a model call. The answer is the text of a cancel, or None."""
        ...

    async def after_model_call(
        self, moment: Moment, *, message: Message | None, stop_reason: str, error: Exception | None
    ) -> bool:
        """Ask after a model call that gave a message or failed. The answer is whether to make it again."""
        ...

    async def before_tools(self, moment: Moment) -> BatchVerdict:
        """Ask before the calls of the last message."""
        ...

    async def after_tools(self, moment: Moment, message: Message) -> list[ContentBlock] | None:
        """Ask before the message with their results enters. The answer is the content of a last message, or None."""
        ...

    async def before_tool_call(self, moment: Moment, *, call: str, use: ToolUse) -> CallVerdict:
        """Ask before a call; `call` is the call's part of its effect key."""
        ...

    async def after_tool_call(self, moment: Moment, ended: EndedCall) -> ResultVerdict:
        """Ask after a call."""
        ...

    async def message_added(self, moment: Moment, message: Message) -> None:
        """Tell that a message has entered the history."""
        ...
