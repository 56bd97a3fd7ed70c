"""`ToolContext`, with which a tool learns about its call and asks a human."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from playhead.runtime.core.arguments import check_text
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.interrupts import tool_interrupt_id
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.plain import plain, plain_text
from playhead.runtime.core.stopping import STOP_FLAG, Stop
from playhead.runtime.tools.agent_state import AgentState, StateOfCall
from playhead.runtime.tools.children import ChildPlace

__all__ = ["BodyInterrupted", "CallingAgent", "NotBegunError", "ToolContext"]


class NotBegunError(FencedError):
    """A tool's body was not begun because the run is no longer held: see `Ownership`."""


class BodyInterrupted(BaseException):
    """Ends a tool's body at `ToolContext.interrupt`. Not an `Exception`, so that a body's own handlers ignore it."""

    def __init__(self, interrupt: dict[str, Any]) -> None:
        self.interrupt = interrupt
        super().__init__(interrupt["name"])


@dataclass(frozen=True, slots=True)
class CallingAgent:
    """The agent that runs a tool, as far as a tool of Strands may need it.

    Attributes:
        name: Its name.
    """

    name: str
    _context: ToolContext = field(repr=False, compare=False)

    @property
    def state(self) -> StateOfCall:
        """The agent's key-value state, as Strands' `agent.state`; as `ToolContext.state`."""
        return self._context.state

    def cancel(self, *, message: str | None = None, after_current_tools: bool = False) -> None:
        """As `ToolContext.stop_run`, with Strands' arguments. The other calls of the message always run to their end."""
        del after_current_tools
        self._context.stop_run(message)


@dataclass(slots=True, kw_only=True)
class ToolContext:
    """One attempt at one tool call; made by the runtime, usable from any thread.

    Attributes:
        tool_use: The model's request.
        run_id: The run.
        invocation_state: The caller's own values for this invocation; never sent to a model. While tools run, it also has
            `request_state`, a dict, as in Strands; it is not stored.
        agent_name: The agent that runs the tool.
        cancel_signal: Set when the run is being cancelled. Read-only for tools.
        attempt: 1 for the first start of this call, 2 if a former owner of the run had started it.
        effect_key: The same across retries and takeovers, and different for every call, so it can be an idempotency key:
            `<run id>/<toolUseId>`, with `~2`, `~3`, … appended where the model uses an id again in one run.
        responses: The humans' responses to this call's interrupts, by id.
        state: The agent's key-value state, with `get`, `set` and `delete`. What the call changes is stored with its result,
            and kept with the session.
        messages: The conversation, the message with this call included; empty outside of any run. Do not change it.
        stopping: Internal: what the body asked for by `stop_run`.
        children: Internal: where the run of an agent that is a tool is run; None for a call outside of any run.
        ownership: Internal: checked right before the body begins; None for a call outside of any run.
    """

    tool_use: ToolUse
    run_id: str
    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    agent_name: str = ""
    cancel_signal: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    attempt: int = 1
    effect_key: str = ""
    responses: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    state: StateOfCall = field(default_factory=lambda: AgentState().of_call(), repr=False, compare=False)
    messages: Sequence[Message] = field(default=(), repr=False, compare=False)
    ownership: Ownership | None = field(default=None, repr=False, compare=False)
    children: ChildPlace | None = field(default=None, repr=False, compare=False)
    stopping: Stop | None = field(default=None, init=False, repr=False)
    _abandoned: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    _stop: Callable[[], None] | None = field(default=None, init=False, repr=False, compare=False)
    _stopped: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.effect_key:
            self.effect_key = f"{self.run_id}/{self.tool_use.get('toolUseId', 'unknown')}"

    def interrupt(self, name: str, reason: Any = None) -> Any:
        """Ask a human. Returns the response if there is one; otherwise the body ends here and the run pauses.

        Once every question of the run has a response the body runs again from its top, so everything that it does
        before this call happens again. `name` distinguishes the questions of one call; `reason` is shown with it, as
        plain data.
        """
        interrupt_id = tool_interrupt_id(self.effect_key.removeprefix(f"{self.run_id}/"), name)
        if interrupt_id in self.responses:
            return self.responses[interrupt_id]
        raise BodyInterrupted({"id": interrupt_id, "name": plain_text(name), "reason": plain(reason), "response": None})

    @property
    def agent(self) -> CallingAgent:
        """The agent that runs the tool, with Strands' `state` and `cancel`."""
        return CallingAgent(self.agent_name, self)

    def stop_run(self, message: str | None = None) -> None:
        """Ask that the run ends after the calls of this message: the model is not called again, and the run has completed.

        Its stop reason is `cancelled`, as in Strands. The body goes on, and the other calls run to their end.

        Args:
            message: The text of the run's last message; None for none. If several calls give one, the last counts.

        Raises:
            TypeError: If it is not a text.
        """
        check_text("message", message, optional=True, empty=True)
        self.stopping = Stop(text=plain_text(message) if message else None).after(self.stopping)

    def stop_request(self) -> dict[str, Any] | None:
        """Internal: what the body asked for, also by Strands' flag in `request_state`, which is taken away; None for nothing."""
        state: Any = self.invocation_state.get("request_state")
        flagged = isinstance(state, dict) and bool(cast("dict[str, Any]", state).pop(STOP_FLAG, False))
        stop = Stop("tool_use").after(self.stopping) if flagged else self.stopping
        return None if stop is None else stop.stored

    @property
    def cancel_requested(self) -> bool:
        """Whether the body should stop because the run is being cancelled or its result is no longer needed.

        A body in a thread cannot be stopped from outside; a long one should check this between its steps.
        """
        return self.cancel_signal.is_set() or self._abandoned.is_set()

    def begin(self) -> None:
        """Internal: called right before the body, on its thread.

        Raises:
            NotBegunError: If the run is no longer held.
        """
        if self.ownership is not None:
            try:
                self.ownership.check(beginning=True)
            except FencedError as error:
                raise NotBegunError(str(error)) from None

    def abandon(self) -> None:
        """Tell the body that its result is no longer needed, because its time is up or its stream was closed."""
        self._abandoned.set()

    def stop(self) -> None:
        """Internal: stop the body for a cancel, as `ToolBody.stop`. On the event loop's thread."""
        self._stopped = True
        if self._stop is not None:
            self._stop()

    def stops_by(self, stop: Callable[[], None]) -> None:
        """Internal: set the action of `stop`, and perform it if that was already called."""
        self._stop = stop
        if self._stopped:
            stop()
