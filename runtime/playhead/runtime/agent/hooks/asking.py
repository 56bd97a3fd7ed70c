"""Calls an agent's hooks at their events and reads what they decided."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from playhead.runtime.agent.hooks.calling import call_hook
from playhead.runtime.agent.hooks.events import (
    EVENTS,
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    HookEvent,
    MessageAddedEvent,
)
from playhead.runtime.agent.hooks.registry import HookCallback, HookRegistry
from playhead.runtime.agent.hooks.view import AgentInRun
from playhead.runtime.core.converse import ContentBlock, Message, Prompt, ToolResult, ToolUse
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.hook_verdicts import (
    BATCH_CANCELLED_TEXT,
    CALL_CANCELLED_TEXT,
    INVOCATION_CANCELLED_TEXT,
    MODEL_CALL_CANCELLED_TEXT,
    TURN_ENDED_TEXT,
    BatchVerdict,
    CallVerdict,
    InvocationVerdict,
    ResultVerdict,
    text_of,
)
from playhead.runtime.core.intake import checked_messages
from playhead.runtime.core.interrupts import batch_interrupt_id, hook_interrupt_id
from playhead.runtime.core.plain import NotPlainError, plain_strict
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.tool_results import tool_result
from playhead.runtime.loop.hooks import EndedCall, Moment
from playhead.runtime.tools.context import BodyInterrupted
from playhead.runtime.tools.tool import Tool

__all__ = ["AskedHooks"]


class AskedHooks:
    """The hooks of one agent, as its runs ask them: see `loop.hooks.Hooks`.

    Sync callbacks run in a thread, because a worker's event loop serves many runs; async ones on the event loop. Those of
    one run are called one after the other.

    Args:
        registry: The callbacks.
        agent: The agent.
    """

    def __init__(self, registry: HookRegistry, agent: Any) -> None:
        self._registry = registry
        self._agent = agent

    def asks(self, event: str) -> bool:
        """Whether there is a callback for the event."""
        return self._registry.has_callbacks(event)

    async def in_turn(self, calls: Sequence[int]) -> bool:
        """True: a hook is asked about a call when the calls before it have ended."""
        del calls
        return True

    def first(self) -> dict[str, HookCallback]:
        """The first callback of each event that has one."""
        return {name: found[0] for name in EVENTS if (found := self._registry.callbacks_for(name))}

    async def before_invocation(self, moment: Moment, messages: list[Message]) -> InvocationVerdict:
        """Ask those of `BeforeInvocationEvent`."""
        event = BeforeInvocationEvent(self._view(moment), moment.invocation_state, copy.deepcopy(messages))
        await self._call(event)
        if (text := text_of(event.cancel, INVOCATION_CANCELLED_TEXT)) is not None:
            return InvocationVerdict(cancel=text)
        if event.messages is None or event.messages == messages:
            return InvocationVerdict()
        return InvocationVerdict(messages=checked_messages(event.messages, what="event.messages"))

    async def after_invocation(self, moment: Moment, result: dict[str, Any] | None) -> Prompt:
        """Ask those of `AfterInvocationEvent`."""
        told = None if result is None else AgentResult(copy.deepcopy(result))
        event = AfterInvocationEvent(self._view(moment), moment.invocation_state, told)
        await self._call(event)
        return event.resume

    async def before_model_call(self, moment: Moment) -> str | None:
        """Ask those of `BeforeModelCallEvent`."""
        event = BeforeModelCallEvent(self._view(moment), moment.invocation_state)
        await self._call(event)
        return text_of(event.cancel, MODEL_CALL_CANCELLED_TEXT)

    async def after_model_call(
        self, moment: Moment, *, message: Message | None, stop_reason: str, error: Exception | None
    ) -> bool:
        """Ask those of `AfterModelCallEvent`."""
        answer = None
        if message is not None:
            answer = AfterModelCallEvent.ModelStopResponse(copy.deepcopy(message), stop_reason)
        event = AfterModelCallEvent(self._view(moment), moment.invocation_state, answer, error)
        await self._call(event)
        return event.retry

    async def before_tools(self, moment: Moment) -> BatchVerdict:
        """Ask those of `BeforeToolsEvent`."""
        state = moment.state
        event = BeforeToolsEvent(self._view(moment), copy.deepcopy(state.messages[-1]), moment.invocation_state)
        event.asked_by(partial(batch_interrupt_id, state.cycle), state.responses)
        interrupts = await self._call(event)
        return BatchVerdict(interrupts, text_of(event.cancel, BATCH_CANCELLED_TEXT))

    async def after_tools(self, moment: Moment, message: Message) -> list[ContentBlock] | None:
        """Ask those of `AfterToolsEvent`."""
        event = AfterToolsEvent(self._view(moment), copy.deepcopy(message), moment.invocation_state)
        await self._call(event)
        if isinstance(event.end_turn, list):
            return event.end_turn
        text = text_of(event.end_turn, TURN_ENDED_TEXT)
        return None if text is None else [{"text": text}]

    async def before_tool_call(self, moment: Moment, *, call: str, use: ToolUse) -> CallVerdict:
        """Ask those of `BeforeToolCallEvent`.

        Raises:
            ValueError: If one changed the call's id, or gave a tool that has the name of another tool of the agent.
            EncodingError: If the changed call is not plain data.
        """
        tool: Tool | None = self._agent.tools.get(use["name"])
        event = BeforeToolCallEvent(self._view(moment), tool, copy.deepcopy(use), moment.invocation_state)
        event.asked_by(partial(hook_interrupt_id, call), moment.state.responses)
        if interrupts := await self._call(event):
            return CallVerdict(interrupts=interrupts)
        if (text := text_of(event.cancel_tool, CALL_CANCELLED_TEXT)) is not None:
            return CallVerdict(cancel=text)
        given = event.selected_tool if event.selected_tool is not tool else None
        if given is None and event.tool_use == use:
            return CallVerdict()
        self._check_given(given)
        name = "" if given is None else given.name
        return CallVerdict(change=_changed(use, event.tool_use), tool=given, tool_name=name)

    def _check_given(self, tool: Tool | None) -> None:
        if tool is not None and self._agent.tools.get(tool.name, tool) is not tool:
            raise ValueError(
                f"a hook gave the tool {tool.name!r} in place of another one, but the agent {self._agent.name!r} has another "
                "tool of that name; give one of them another name"
            )

    async def after_tool_call(self, moment: Moment, ended: EndedCall) -> ResultVerdict:
        """Ask those of `AfterToolCallEvent`."""
        tool = None if ended.tool is None else self._agent.tools.get(ended.tool.spec["name"], ended.tool)
        event = AfterToolCallEvent(
            self._view(moment),
            tool,
            copy.deepcopy(ended.use),
            moment.invocation_state,
            copy.deepcopy(ended.result),
            cast("Exception | None", ended.error),
            ended.cancelled,
            ended.seconds,
        )
        await self._call(event)
        if event.result == ended.result:
            return ResultVerdict(retry=event.retry)
        return ResultVerdict(event.retry, _result(ended.use, event.result))

    async def message_added(self, moment: Moment, message: Message) -> None:
        """Tell those of `MessageAddedEvent`."""
        await self._call(MessageAddedEvent(self._view(moment), copy.deepcopy(message)))

    def _view(self, moment: Moment) -> AgentInRun:
        return AgentInRun(self._agent, moment)

    async def _call(self, event: HookEvent) -> list[dict[str, Any]]:
        """Call the callbacks of an event. Returns the questions that they ask.

        Raises:
            ValueError: If two of them ask a question of the same name.
            Exception: What one of them raises.
        """
        asked: dict[str, dict[str, Any]] = {}
        for callback in self._registry.callbacks_for(type(event).__name__):
            try:
                await call_hook(callback, event)
            except BodyInterrupted as interrupted:
                question = interrupted.interrupt
                if question["name"] in asked:
                    raise ValueError(
                        f"two hooks ask a question named {question['name']!r}; name one of them otherwise"
                    ) from None
                asked[question["name"]] = question
        return list(asked.values())


def _changed(use: ToolUse, given: ToolUse) -> ToolUse:
    """The call that a hook made of `use`."""
    try:
        changed = plain_strict(given)
    except NotPlainError as error:
        raise EncodingError(f"event.tool_use, which a hook changed, cannot be stored: {error}") from None
    if changed["toolUseId"] != use["toolUseId"]:
        raise ValueError(
            f"a hook changed the toolUseId {use['toolUseId']!r} to {changed['toolUseId']!r}; it must stay, because the model "
            "knows the call by it"
        )
    return {"toolUseId": use["toolUseId"], "name": changed["name"], "input": changed["input"]}


def _result(use: ToolUse, given: ToolResult) -> ToolResult:
    return tool_result(use["toolUseId"], given, tool_name=use["name"])
