"""Decides whether a run gets on after owners that ended too soon, and words its failure if it does not. Pure.

A run that kills its owners must not do so for ever, and a run that merely shared their process must not fail. So owners
that end are counted, and the count is cleared when the step that ran at the end of the last one has completed. A run
that kills its owners in a tool never completes that step, whatever else it does in between; a run that was beside it
does.
"""

from __future__ import annotations

from collections.abc import Iterable

from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    Record,
    RunFailed,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.state import RunState
from playhead.runtime.log.values import IDLE_OWNERS_LIMIT, Claim

__all__ = ["Standstill", "step_in_words"]


class Standstill:
    """The step that a run was in when its last owner ended, and whether the present owner has completed it.

    Attributes:
        doing: The step, in words.
    """

    def __init__(self, state: RunState, entries: Iterable[Entry]) -> None:
        """`state` is the fold of `entries`, the records up to the present owner's claim."""
        names = {
            entry.record.index: entry.record.tool_use["name"]
            for entry in entries
            if isinstance(entry.record, ToolStarted)
        }
        tools = [names[index] for index in sorted(state.started - state.results.keys()) if index in names]
        self.doing: str = step_in_words(tools, in_model_call=state.call_open is not None)
        self._tools = set(tools)
        self._begun: dict[int, str] = {}

    def ends_with(self, record: Record) -> bool:
        """Whether the run gets on with this record, the next of the present owner.

        A call that gets a result without being run again does not complete its tool.
        """
        match record:
            case ToolStarted(index=index, tool_use=use):
                self._begun[index] = use["name"]
                return False
            case ToolFinished(index=index) | ToolInterrupted(index=index) if index in self._begun:
                self._tools.discard(self._begun[index])
                return not self._tools
            case MessageAdded(origin="model"):
                return not self._tools
            case _:
                return False

    def verdict(self, claim: Claim, *, crash_limit: int) -> RunFailed | None:
        """The end of the run, if too many owners of it have ended one after the other."""
        if claim.crash_streak > crash_limit:
            how = f" its process {claim.crash_end}" if claim.crash_end else " it died, or was silent for a lease"
            return RunFailed(
                at=now_ms(),
                error_type="CrashLimitExceeded",
                message=f"the run did not get on with {claim.crash_streak} workers in a row that died or fell silent, and "
                f"its crash limit is {crash_limit}. When the last one ended, {self.doing} ran;{how}. "
                "The run is not tried again",
            )
        if claim.idle_owners > IDLE_OWNERS_LIMIT:
            return RunFailed(
                at=now_ms(),
                error_type="NoProgress",
                message=f"the run did not get on with {claim.idle_owners} workers in a row, which handed it over or lost it; "
                f"{IDLE_OWNERS_LIMIT} are allowed. When the last one ended, {self.doing} ran. "
                "The run is not tried again",
            )
        return None


def step_in_words(tools: list[str], *, in_model_call: bool) -> str:
    """The step that runs these tools, or calls the model, in words."""
    if tools:
        return f"the tool{'s' if len(tools) > 1 else ''} {', '.join(map(repr, tools))}"
    return "a call of its model" if in_model_call else "no step"
