"""Asks the hooks of tool calls, and applies what is recorded of their verdicts to the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.hook_verdicts import call_records, cancel_records
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Record, ToolDecided, ToolFinished, now_ms
from playhead.runtime.loop.hooks import EndedCall, Hooks, Moment
from playhead.runtime.loop.spec import AgentSpec, CallableTool

__all__ = ["ToolCall", "ToolHooks"]

_BEFORE = "BeforeToolCallEvent"
_AFTER = "AfterToolCallEvent"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a batch.

    Attributes:
        index: Its position in the batch.
        use: The model's request or, if a hook changed it, the call that runs.
        tool: The called tool; None if the agent has no such tool.
        key: Its effect key; empty without a tool.
        again: Whether a former owner of the run began it, so that its outcome is unknown.
        cancelled: The text with which a hook cancelled it.
        changed: Whether a hook changed it.
    """

    index: int
    use: ToolUse
    tool: CallableTool | None
    key: str
    again: bool
    cancelled: str | None = None
    changed: bool = False


class ToolHooks:
    """The hooks of tool calls in one ownership of a run.

    Args:
        hooks: The agent's hooks.
        spec: The agent.
        moment: Where the run is now; its state includes every record yielded so far.
        ownership: Checked before hooks are asked.
    """

    def __init__(self, hooks: Hooks, *, spec: AgentSpec, moment: Callable[[], Moment], ownership: Ownership) -> None:
        self._hooks = hooks
        self._spec = spec
        self._moment = moment
        self._ownership = ownership
        self._lent: dict[str, CallableTool] = {}  # tools that only a hook has, by name
        self._cancels: list[Record] = []  # that hooks asked for after calls, and that are not in the log yet

    async def in_turn(self, calls: Sequence[ToolCall]) -> bool:
        """As `Hooks.in_turn`; never for calls that run together."""
        return self._spec.tool_executor == "sequential" and await self._hooks.in_turn([call.index for call in calls])

    async def before(self, call: ToolCall) -> list[Record]:
        """Ask about a call that has not begun. Returns the records of the verdict and of a cancel, if there are any.

        What is recorded is not asked again, except for a tool that the agent does not have: its next owner needs the
        object.

        Raises:
            FencedError: If the run is no longer held: a hook may have effects.
            Exception: What a hook raises.
        """
        known = self._moment().state.decided.get(call.index)
        is_lent = known is not None and known.tool not in ("", *self._spec.tools, *self._lent)
        if not self._hooks.asks(_BEFORE) or (known is not None and not is_lent) or (call.again and not is_lent):
            return []
        self._ownership.check()
        moment = self._moment()
        call_id = call.key.removeprefix(f"{moment.run_id}/")
        verdict = await self._hooks.before_tool_call(moment, call=call_id, use=call.use)
        if verdict.tool is not None and verdict.tool_name not in self._spec.tools:
            self._lent[verdict.tool_name] = verdict.tool
        if known is not None:
            return []
        cancels = cancel_records(_BEFORE, moment.cancels.take(), moment.state)
        return [*cancels, *call_records(verdict, index=call.index, use=call.use)]

    def decided(self, call: ToolCall) -> ToolCall:
        """The call as the recorded verdict has it."""
        verdict = self._moment().state.decided.get(call.index)
        if verdict is None:
            return call
        if verdict.verdict == "cancel":
            return replace(call, cancelled=verdict.message)
        use = call.use if verdict.change is None else verdict.change
        name = verdict.tool or use["name"]
        return replace(call, use=use, tool=self._spec.tools.get(name) or self._lent.get(name), changed=True)

    def cancels(self) -> list[Record]:
        """Take the records of the cancels that hooks asked for after calls."""
        taken, self._cancels = self._cancels, []
        return taken

    async def after(
        self, record: ToolFinished, call: ToolCall, *, error: BaseException | None
    ) -> ToolFinished | ToolDecided | None:
        """Ask about a result. Returns the record in place of it, or None if it stays as it is; raises as `before`."""
        if not self._hooks.asks(_AFTER):
            return None
        self._ownership.check()
        seconds = record.duration_ms / 1000 if call.tool is not None and call.cancelled is None else None
        tool = call.tool if call.cancelled is None else None
        ended = EndedCall(call.use, tool, record.result, error, call.cancelled, seconds)
        moment = self._moment()
        verdict = await self._hooks.after_tool_call(moment, ended)
        self._cancels += cancel_records(_AFTER, moment.cancels.take(), self._moment().state)
        if verdict.retry and call.cancelled is None:
            return ToolDecided(
                at=now_ms(),
                index=call.index,
                tool_use=call.use,
                verdict="retry",
                result=record.result,
                state=record.state,
            )
        if verdict.result is None:
            return None
        return record.model_copy(update={"result": verdict.result, "returned": record.result})
