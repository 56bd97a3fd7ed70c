"""Hooks for a recorded run: those of today's agent, asked again, or stand-ins that repeat the recorded verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.converse import ContentBlock, Message, Prompt, ToolUse
from playhead.runtime.core.hook_effects import hook_of
from playhead.runtime.core.hook_verdicts import BatchVerdict, CallVerdict, InvocationVerdict, ResultVerdict
from playhead.runtime.core.hook_words import hook_message
from playhead.runtime.core.records import (
    HookDecided,
    ModelRetried,
    Record,
    StateChanged,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
)
from playhead.runtime.loop.hooks import EndedCall, Hooks, Moment
from playhead.runtime.loop.spec import CallableTool
from playhead.runtime.replay.playback import Playback, RecordedTool
from playhead.runtime.tools.decorator import tool

__all__ = ["RecordedHooks", "ReplayedHooks"]


class ReplayedHooks:
    """Asks the hooks, but has no tool that one of them gives run, and does not tell them of messages.

    Args:
        hooks: The hooks of today's agent.
        playback: What the owner recorded.
        runs: The tools that run instead of being played, by name.
    """

    def __init__(self, hooks: Hooks, playback: Playback, *, runs: Mapping[str, CallableTool]) -> None:
        self._hooks = hooks
        self._playback = playback
        self._recorded = RecordedHooks(playback)
        self._runs = runs

    def asks(self, event: str) -> bool:
        """Whether there is a hook of this event."""
        return self._hooks.asks(event)

    async def in_turn(self, calls: Sequence[int]) -> bool:
        """As `Hooks.in_turn`."""
        return await self._hooks.in_turn(calls)

    async def before_invocation(self, moment: Moment, messages: list[Message]) -> InvocationVerdict:
        """As `Hooks.before_invocation`."""
        return await self._hooks.before_invocation(moment, messages)

    async def after_invocation(self, moment: Moment, result: dict[str, Any] | None) -> Prompt:
        """As `Hooks.after_invocation`."""
        return await self._hooks.after_invocation(moment, result)

    async def before_model_call(self, moment: Moment) -> str | None:
        """As `Hooks.before_model_call`."""
        return await self._hooks.before_model_call(moment)

    async def after_model_call(
        self, moment: Moment, *, message: Message | None, stop_reason: str, error: Exception | None
    ) -> bool:
        """As `Hooks.after_model_call`, but as recorded for a failure that is not in the log."""
        if error is not None and error is self._playback.unrecorded:
            return True
        return await self._hooks.after_model_call(moment, message=message, stop_reason=stop_reason, error=error)

    async def before_tools(self, moment: Moment) -> BatchVerdict:
        """As `Hooks.before_tools`."""
        return await self._hooks.before_tools(moment)

    async def after_tools(self, moment: Moment, message: Message) -> list[ContentBlock] | None:
        """As `Hooks.after_tools`."""
        return await self._hooks.after_tools(moment, message)

    async def before_tool_call(self, moment: Moment, *, call: str, use: ToolUse) -> CallVerdict:
        """As `Hooks.before_tool_call`; a tool that is given is played."""
        verdict = await self._hooks.before_tool_call(moment, call=call, use=use)
        if verdict.tool is None:
            return verdict
        runs = self._runs.get(verdict.tool_name)
        return replace(verdict, tool=RecordedTool(verdict.tool, self._playback, runs=runs))

    async def after_tool_call(self, moment: Moment, ended: EndedCall) -> ResultVerdict:
        """As `Hooks.after_tool_call`."""
        tool = ended.tool.tool if isinstance(ended.tool, RecordedTool) else ended.tool
        return await self._hooks.after_tool_call(moment, replace(ended, tool=tool))

    async def message_added(self, moment: Moment, message: Message) -> None:
        """Cancel as recorded: it was told when the run ran."""
        await self._recorded.message_added(moment, message)


class RecordedHooks:
    """Decide at each event what was recorded there; nothing of the agent's hooks runs."""

    def __init__(self, playback: Playback) -> None:
        self._playback = playback

    def asks(self, event: str) -> bool:
        """True: something can be decided at each of them."""
        return True

    async def in_turn(self, calls: Sequence[int]) -> bool:
        """As recorded: without hooks the owner settled what needs no body before it began the first one."""
        for ahead, index in enumerate(calls):
            record = await self._next(ahead)
            if not isinstance(record, ToolFinished):
                return True
            if record.index != index:
                return False
        return True

    async def before_invocation(self, moment: Moment, messages: list[Message]) -> InvocationVerdict:
        """The recorded verdict."""
        ahead = await self._cancelled(moment, "BeforeInvocationEvent")
        found = await self._decided("BeforeInvocationEvent", ahead=ahead)
        if found is None:
            return InvocationVerdict()
        if found.verdict == "cancel":
            return InvocationVerdict(cancel=hook_message(found))
        return InvocationVerdict(messages=found.value)

    async def after_invocation(self, moment: Moment, result: dict[str, Any] | None) -> Prompt:
        """The recorded verdict."""
        found = await self._decided("AfterInvocationEvent")
        return None if found is None else found.value

    async def before_model_call(self, moment: Moment) -> str | None:
        """The recorded verdict; a record that withdraws a call that broke off may be before it."""
        broke_off = moment.state.call_open is not None and moment.state.call_end is not None
        ahead = await self._cancelled(moment, "BeforeModelCallEvent") + broke_off
        found = await self._decided("BeforeModelCallEvent", ahead=ahead)
        return None if found is None else hook_message(found)

    async def after_model_call(
        self, moment: Moment, *, message: Message | None, stop_reason: str, error: Exception | None
    ) -> bool:
        """The recorded verdict."""
        record = await self._next(await self._cancelled(moment, "AfterModelCallEvent"))
        return isinstance(record, ModelRetried) and hook_of(record) is not None

    async def before_tools(self, moment: Moment) -> BatchVerdict:
        """The recorded verdict."""
        found = await self._decided("BeforeToolsEvent", ahead=await self._cancelled(moment, "BeforeToolsEvent"))
        if found is None:
            return BatchVerdict()
        return BatchVerdict(found.interrupts, found.value if found.verdict == "cancel" else None)

    async def after_tools(self, moment: Moment, message: Message) -> list[ContentBlock] | None:
        """The recorded verdict."""
        found = await self._decided("AfterToolsEvent", ahead=await self._cancelled(moment, "AfterToolsEvent"))
        return None if found is None else found.value["content"]

    async def before_tool_call(self, moment: Moment, *, call: str, use: ToolUse) -> CallVerdict:
        """The recorded verdict; a tool that only a hook has is one whose calls are played."""
        known = [one for one in moment.state.decided.values() if one.tool_use == use]
        record = known[0] if known else await self._next(await self._cancelled(moment, "BeforeToolCallEvent"))
        if isinstance(record, ToolInterrupted) and record.tool_use == use and hook_of(record) is not None:
            return CallVerdict(interrupts=record.interrupts)
        if not isinstance(record, ToolDecided) or record.tool_use != use:
            return CallVerdict()
        if record.verdict == "cancel":
            return CallVerdict(cancel=record.message)
        lent = RecordedTool(tool(name=record.tool, description="")(_played), self._playback) if record.tool else None
        return CallVerdict(change=record.change, tool=lent, tool_name=record.tool)

    async def after_tool_call(self, moment: Moment, ended: EndedCall) -> ResultVerdict:
        """The recorded verdict."""
        record = await self._next(await self._cancelled(moment, "AfterToolCallEvent"))
        if isinstance(record, ToolFinished) and record.returned is not None:
            return ResultVerdict(result=record.result)
        return ResultVerdict(retry=isinstance(record, ToolDecided) and record.verdict == "retry")

    async def message_added(self, moment: Moment, message: Message) -> None:
        """Only the recorded cancel."""
        await self._cancelled(moment, "MessageAddedEvent")

    async def _cancelled(self, moment: Moment, event: str) -> int:
        """Ask for the recorded cancel; how many records it has."""
        record = await self._next()
        if not isinstance(record, HookDecided) or (record.event, record.verdict) != (event, "cancel_run"):
            return 0
        moment.cancels.ask(Cancel.read(record.value))
        return 1

    async def _next(self, ahead: int = 0) -> Record | None:
        """The record `ahead` records after the next one, without those of changes of the state."""
        skipped = 0
        while (spot := await self._playback.peek(skipped)) is not None:
            if not isinstance(spot.stored, StateChanged):
                if ahead == 0:
                    return spot.record
                ahead -= 1
            skipped += 1
        return None

    async def _decided(self, event: str, *, ahead: int = 0) -> HookDecided | None:
        record = await self._next(ahead)
        return record if isinstance(record, HookDecided) and record.event == event else None


async def _played() -> None:
    """The body of a tool whose calls are played instead."""
