"""The state of a run, which `evolve` makes and `decide` reads. Pure: no I/O, no clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from playhead.runtime.core.children import Child
from playhead.runtime.core.context import in_context
from playhead.runtime.core.converse import Chunk, Message, ToolResult, ToolUse
from playhead.runtime.core.intake import mended
from playhead.runtime.core.left_call import joined
from playhead.runtime.core.records import (
    Entry,
    ModelChunk,
    ModelFailed,
    ModelStarted,
    RunStateName,
    ToolDecided,
)
from playhead.runtime.core.stopping import Stop
from playhead.runtime.core.terms import NO_TERMS, Terms
from playhead.runtime.core.totals import NO_TOTALS, Totals

__all__ = ["ALL_CALLS", "Phase", "RunState", "effect_key", "initial", "open_chunks", "tool_uses"]

Phase = Literal["opening", "cycle", "answered", "between", "closed"]

ALL_CALLS: Final = -1
"""The key in `RunState.interrupted` of a question about a whole batch."""


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything `decide` needs to know about a run.

    Attributes:
        messages: The history before the run, then the messages that the run has added.
        history: How many of `messages` were there before the run, or right after its last reduction.
        terms: The terms of the call, without those of its agent.
        opened: How many opening messages (repair and prompt) are in.
        phase: `opening` until the first cycle, `cycle` until the model's message is in, `answered` once it is in,
            `between` after the tools' results are in, `closed` once a hook has ended the turn.
        call_open: The `seq` of a `model.started` whose message is not in yet; if calls continue each other, of the
            first.
        call_end: The `seq` of the last record that its owner wrote, once the call is known to have broken off.
        attempts: Model calls begun in this cycle.
        failed: The transient failure of the last call, until the call is made again.
        failures, waited: Number of transient failures in this cycle, and the seconds of their waits together.
        rested: Whether the wait after `failed` is over, because the log kept the run for so long.
        stop_reason: The stop reason of the last message.
        started, results: Calls of the current tool batch, by their index in it. `started` are those whose body began
            and did not stop at an interrupt.
        kept: Calls of the batch that had a result at its last pause, in the order in which the results are told.
        keys: Effect keys of all calls of the batch that have begun.
        spent: Effect keys of earlier batches.
        interrupted: By call, the ids of the interrupts it stopped at; `ALL_CALLS` for those of the batch.
        decided: By call, what a hook decided about it.
        children: By call of an agent that is a tool, its child.
        refused: The text with which a hook refused the whole batch.
        last_message: The message with which a hook ends the run once the results of the batch are in.
        invoked: Whether a hook has decided about the prompt.
        interrupts: The open interrupts, by id.
        responses: The responses of this batch, by interrupt id.
        restated: Whether a response has replaced the caller's values that the run was submitted with.
        paused: Whether the run waits, or waited, for responses and has not resumed yet.
        steers: The steers, as messages, that are not in the history yet.
        cancelled: Whether a cancel is in force.
        cancel_text: The text of its message, as long as it is not in the history; None for the default.
        closing: Whether the text with which a cancel or a tool ends the run is in the history.
        forced: Whether the model was asked for the structured output, and is offered its tool alone.
        stop: The end that tools asked for.
        output: The structured output, once it is produced; a steer asks for another.
        overflow: The failure of a call whose history was too long, until the history is reduced.
        again: Whether the next cycle repeats one whose history was too long.
        managed: Whether the history was reduced since the last model call for the step that comes now.
        summarizing: Whether the model call that is open writes a summary.
        unredacted: The last message as it was before a guardrail of the last call replaced it; None if none did.
        calls: Model calls begun in the run.
        said: What the run adds to its session up to its last reduction; see `added`.
        spoken: The last message of the model before the last reduction.
        agent_state: The state of the agent; None if no record has any of it.
        resumed: `totals` when the run last resumed after a pause, and the cycle it paused in.
    """

    messages: tuple[Message, ...] = ()
    history: int = 0
    status: RunStateName = "queued"
    agent: str = ""
    session: str | None = None
    prompt: Any = None
    invocation_state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    restated: bool = False
    terms: Terms = NO_TERMS
    opened: int = 0
    phase: Phase = "opening"
    cycle: int = 0
    call_open: int | None = None
    call_end: int | None = None
    attempts: int = 0
    failed: ModelFailed | None = None
    failures: int = 0
    waited: float = 0.0
    rested: bool = False
    stop_reason: str | None = None
    started: frozenset[int] = frozenset()
    results: Mapping[int, ToolResult] = field(default_factory=dict[int, ToolResult])
    kept: tuple[int, ...] = ()
    keys: Mapping[int, str] = field(default_factory=dict[int, str])
    spent: frozenset[str] = frozenset()
    interrupted: Mapping[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    interrupts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    responses: Mapping[str, Any] = field(default_factory=dict[str, Any])
    decided: Mapping[int, ToolDecided] = field(default_factory=dict[int, ToolDecided])
    children: Mapping[int, Child] = field(default_factory=dict[int, Child])
    refused: str | None = None
    last_message: Message | None = None
    invoked: bool = False
    paused: bool = False
    steers: tuple[Message, ...] = ()
    cancelled: bool = False
    cancel_text: str | None = None
    closing: bool = False
    forced: bool = False
    stop: Stop | None = None
    output: Any = None
    overflow: ModelFailed | None = None
    again: bool = False
    managed: bool = False
    summarizing: bool = False
    unredacted: Message | None = None
    calls: int = 0
    said: tuple[Message, ...] = ()
    spoken: Message | None = None
    agent_state: Mapping[str, Any] | None = None
    totals: Totals = NO_TOTALS
    resumed: tuple[Totals, int] | None = None

    @property
    def told_state(self) -> dict[str, Any] | None:
        """The caller's values for records from which readers may begin: None if they are those of record 1."""
        return dict(self.invocation_state) if self.restated else None

    @property
    def added(self) -> tuple[Message, ...]:
        """The messages that this run adds to its session, in order, with a marker for each reduction."""
        return (*self.said, *self.messages[self.history :])

    def is_waiting(self, index: int) -> bool:
        """Whether the call at `index` waits for a response."""
        asked = (*self.interrupted.get(index, ()), *self.interrupted.get(ALL_CALLS, ()))
        return any(one in self.interrupts for one in asked)


def initial(history: Iterable[Message] = ()) -> RunState:
    """The state before record 1, given the messages that the run starts from."""
    messages = tuple(map(mended, in_context(history)))  # a session may hold what an older version let pass
    return RunState(messages=messages, history=len(messages))


def open_chunks(state: RunState, entries: Sequence[Entry]) -> list[Chunk]:
    """The chunks of the open model call among `entries`; `state` is the fold of `entries`.

    If calls continue each other, they are as the chunks of one call.
    """
    if state.call_open is None:
        return []
    calls: list[list[Chunk]] = []
    for entry in itertools.dropwhile(lambda entry: entry.seq < cast("int", state.call_open), entries):
        if isinstance(entry.record, ModelStarted):
            calls.append([])
        elif isinstance(entry.record, ModelChunk):
            calls[-1].append(entry.record.chunk)
    return joined(calls)


def tool_uses(message: Message) -> list[ToolUse]:
    """The tool calls of a message, in order."""
    return [cast("ToolUse", block["toolUse"]) for block in message.get("content", []) if "toolUse" in block]


def effect_key(state: RunState, index: int, call: ToolUse, *, run_id: str) -> str:
    """A key that no other call of the run has, for the call at `index` of the current batch. It survives takeovers.

    `<run id>/<toolUseId>`. Some providers count ids from 1 in each message, so a repeated id gets `~2`, `~3`, …
    appended. Once a call has begun, its key is the one in its record; in a fork, whose first records are its parent's, it is
    the same with the fork's own id.
    """
    if index in state.keys:
        stored = state.keys[index]
        begins = stored.rfind(f"/{call['toolUseId']}")
        return f"{run_id}{stored[begins:]}" if begins >= 0 else stored
    key = first = f"{run_id}/{call['toolUseId']}"
    times = 1
    while key in state.spent or key in state.keys.values():
        times += 1
        key = f"{first}~{times}"
    return key
