"""The hooks of today's agent, asked at the events of a recorded run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from playhead.runtime.core.converse import ContentBlock, Message, Prompt, ToolUse
from playhead.runtime.core.hook_verdicts import BatchVerdict, CallVerdict, InvocationVerdict, ResultVerdict
from playhead.runtime.loop.hooks import EndedCall, Hooks, Moment
from playhead.runtime.loop.spec import CallableTool
from playhead.runtime.replay.playback import Playback, RecordedTool

__all__ = ["ReplayedHooks"]


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
        self._runs = runs

    def asks(self, event: str) -> bool:
        """Whether there is a hook of this event that decides something."""
        return event != "MessageAddedEvent" and self._hooks.asks(event)

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
        """As `Hooks.after_model_call`."""
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
        """Nothing: it was told when the run ran."""
