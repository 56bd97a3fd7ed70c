"""Records about tool calls, and about what hooks decided."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import SkipValidation

from playhead.runtime.core.converse import ToolResult, ToolUse
from playhead.runtime.core.records.base import CheckedRecord

__all__ = [
    "ChildRecorded",
    "ChildStarted",
    "HookDecided",
    "ToolDecided",
    "ToolFinished",
    "ToolInterrupted",
    "ToolProgressed",
    "ToolStarted",
]


class ToolDecided(CheckedRecord):
    """A hook decided about a tool call. The verdict is in force from here on, so the hook is not asked for it again.

    `tool_use` is what the model asked for. The verdict is `cancel`: the call gets an error result with the text
    `message`. Or `change`: the call runs as `change`, and by the tool named `tool` if that is not empty. Or `retry`: the
    call has run, its `result` is dropped, and it runs again; `state` is what its body changed in the agent's state, see
    `core.agent_state`. An interrupt of a hook is a `tool.interrupted`.
    """

    type: str = "tool.decided"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    verdict: str
    message: str = ""
    change: Annotated[ToolUse | None, SkipValidation] = None
    tool: str = ""
    result: Annotated[ToolResult | None, SkipValidation] = None
    state: dict[str, Any] | None = None


class _Laned:
    """A record about a call. `lane` is empty except in the run of a hosted guest: see `nested`."""

    lane: str

    @property
    def nested(self) -> bool:
        """Whether the call was made within another one: `/t1` is a call of the guest, `/t1/x` one that `t1` made."""
        return self.lane.count("/") > 1


class ToolStarted(_Laned, CheckedRecord):
    """A tool call is about to run: this record is stored before its body starts.

    `index` is the position of the call in its batch (tool use ids need not be unique); `effect_key` is a key that the
    tool may use as its idempotency key. If a hook changed the call, `tool_use` is the changed one.
    """

    type: str = "tool.started"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    effect_key: str
    lane: str = ""


class ToolProgressed(_Laned, CheckedRecord):
    """A tool yielded a value while running."""

    type: str = "tool.progressed"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    data: Any = None
    lane: str = ""


class ToolFinished(_Laned, CheckedRecord):
    """A tool call has its result, which is never computed again. `duration_ms` is 0 for calls that never ran.

    `stop` is a `Stop` in its stored form, if the body asked that the run ends after this batch. `returned` is the result
    before a hook changed it; None if no hook did. `state` is what the body changed in the agent's state, see
    `core.agent_state`; None if nothing. `memory` has what the call of a hosted guest gave besides its result, to be given
    again after a takeover: what it raised, or what it changed in the guest's state.
    """

    type: str = "tool.finished"
    index: int
    name: str
    result: Annotated[ToolResult, SkipValidation]
    duration_ms: int = 0
    stop: dict[str, Any] | None = None
    returned: Annotated[ToolResult | None, SkipValidation] = None
    state: dict[str, Any] | None = None
    memory: dict[str, Any] = {}
    lane: str = ""


class ToolInterrupted(_Laned, CheckedRecord):
    """A tool call stopped to ask a human; once all of `interrupts` have responses its body runs again from its top.

    It is written when the body has stopped, so after a crash before it the outcome of the call is unknown. Each of
    `interrupts` is `{"id", "name", "reason", "response": None}`. `state` is as in `ToolFinished`.
    """

    type: str = "tool.interrupted"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    interrupts: list[dict[str, Any]]
    state: dict[str, Any] | None = None
    lane: str = ""


class ChildStarted(CheckedRecord):
    """A call of an agent that is a tool has its child: the run `run` of the agent `agent`, whose record 1 names this run.

    The id of the child derives from the effect key of the call, so every owner of this run finds the same child. `attempt`
    is above 1 if a hook dropped the result of the child before it. `delegate`: readers see the events of the child as those of
    this run, because its answer ends the run.
    """

    type: str = "child.started"
    index: int
    tool_use: Annotated[ToolUse, SkipValidation]
    run: str
    agent: str
    attempt: int = 1
    delegate: bool = False


class ChildRecorded(CheckedRecord):
    """The child of a call stored these records, of which readers of this run make the events that they see of the child.

    `values` are the records, each in its stored form (see `codec`), without those that have no events, and `upto` is the
    number that the last of them has in the child's own log. They are in that log before they are here.
    """

    type: str = "child.recorded"
    index: int
    upto: int
    values: Annotated[list[Any], SkipValidation]


class HookDecided(CheckedRecord):
    """A hook changed what the run does next; the verdict is in force from here on, so the hook is not asked again.

    `event` is the name of the hook's event, and `verdict` one of these, with its `value`:

    - `BeforeInvocationEvent`: `messages`, in place of those of the prompt; `cancel` with the last message of the run.
    - `BeforeModelCallEvent`: `cancel` with the message in place of the model's.
    - `BeforeToolsEvent`: `cancel` with the text of all results; `interrupt`, with the questions in `interrupts`.
    - `AfterToolsEvent`: `end_turn` with the last message, which enters the history after the results.
    - `AfterInvocationEvent`: `resume` with the prompt with which the run goes on in place of its end.
    - Any event but the last of these: `cancel_run` with the body of a `Cancel`, before the record of what the hook was asked
      about.
    """

    type: str = "hook.decided"
    event: str
    verdict: str
    value: Any = None
    interrupts: list[dict[str, Any]] = []
