"""Decides whether a run gets on after owners that ended too soon, and words its failure if it does not. Pure.

A run that kills its owners must not do so for ever, and a run that merely shared their process must not fail. So owners
that end are counted, and the count is cleared when the step that ran at the end of the last one has completed. A run
that kills its owners in a tool never completes that step, whatever else it does in between; a run that was beside it
does.
"""

from __future__ import annotations

from collections.abc import Iterable

from playhead.runtime.core.owner_changes import doing
from playhead.runtime.core.records import (
    ChildRecorded,
    Entry,
    MessageAdded,
    Record,
    RunFailed,
    StepFinished,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.state import RunState
from playhead.runtime.log.values import IDLE_OWNERS_LIMIT, Claim

__all__ = ["Standstill"]


class Standstill:
    """The step that a run was in when its last owner ended, and whether the present owner has completed it.

    Attributes:
        doing: The step, in words.
    """

    def __init__(self, state: RunState, entries: Iterable[Entry]) -> None:
        """`state` is the fold of `entries`, the records up to the present owner's claim."""
        begun = {
            entry.record.index: (entry.record.tool_use["name"], entry.seq)
            for entry in entries
            if isinstance(entry.record, ToolStarted)
        }
        open_calls = state.started - state.results.keys()
        tools = [begun[index] for index in sorted(open_calls) if index in begun]
        self.doing: str = doing(tools, state.call_open)
        self._tools = {name for name, _ in tools}
        self._begun: dict[int, str] = {}
        # Of a run that only waits for children: a child that ends its owners counts them too, and fails first. The run then
        # gets that failure as the result of the call, whether or not it got on by what it heard of the child before.
        self._more = 1 if tools and open_calls <= state.children.keys() else 0

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
            case ChildRecorded(index=index) if index in self._begun and _has_message(record):
                self._tools.discard(self._begun[index])  # a step of the child is completed, and is not run again
                return not self._tools
            case MessageAdded(origin="model") | StepFinished():
                return not self._tools
            case _:
                return False

    def verdict(self, claim: Claim, *, crash_limit: int) -> RunFailed | None:
        """The end of the run, if too many owners of it have ended one after the other; one more may, if it only waits for children."""
        if claim.crash_streak > crash_limit + self._more:
            how = (
                f"its process {claim.crash_end}"
                if claim.crash_end
                else "it was killed, its host failed, or it was cut off from Redis for a lease (no supervisor saw its end)"
            )
            return RunFailed(
                at=now_ms(),
                error_type="CrashLimitExceeded",
                message=f"{_in_a_row(claim.crash_streak)} died while the run was with {_them(claim.crash_streak)}, and its "
                f"crash limit is {crash_limit}. When the last one died, {self.doing} ran: {how}. "
                "The run is not tried again",
            )
        allowed = max(IDLE_OWNERS_LIMIT, crash_limit) + self._more  # a crashed owner is an idle one, too
        if claim.idle_owners > allowed:
            return RunFailed(
                at=now_ms(),
                error_type="NoProgress",
                message=f"{_in_a_row(claim.idle_owners)} had the run and handed it over, lost it or died before it got on; "
                f"{allowed} are allowed. When the last one left it, {self.doing} ran. "
                "The run is not tried again",
            )
        return None


def _has_message(record: ChildRecorded) -> bool:
    return any(isinstance(one, dict) and one.get("type") == "message.added" for one in record.values)


def _in_a_row(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers in a row"


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
