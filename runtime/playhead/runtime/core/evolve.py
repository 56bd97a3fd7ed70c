"""The fold of a run: `evolve` gives the state after one more record. Pure: no I/O, no clock.

    state = reduce(evolve, entries, initial(history))

An empty log, half a log and a finished log go through the same code; `decide` reads the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from playhead.runtime.core.agent_state import state_changed, with_state_change
from playhead.runtime.core.batch_order import ordered_results
from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.children import child_recorded, child_started
from playhead.runtime.core.context_state import after_reduction, after_refusal
from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.hook_effects import cancelled, closed_with, hook_decided, tool_decided
from playhead.runtime.core.interrupts import is_outcome_question
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    ContextReduced,
    CycleStarted,
    Entry,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    StateChanged,
    StepFinished,
    StructuredOutputProduced,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.redaction import redacted, without_redaction
from playhead.runtime.core.state import Phase, RunState, initial
from playhead.runtime.core.stopping import Stop
from playhead.runtime.core.terms import Terms
from playhead.runtime.core.totals import begin_cycle, count_message, count_tool, count_usage, end_cycle

__all__ = ["evolve", "fold"]

_TRUNCATED: Final = "The selected tool {name}'s tool use was incomplete due to maximum token limits being reached."


def fold(entries: Iterable[Entry], *, history: Iterable[Message] = ()) -> RunState:
    """The state after `entries`, which start at record 1."""
    state = initial(history)
    for entry in entries:
        state = evolve(state, entry)
    return state


def evolve(state: RunState, entry: Entry) -> RunState:
    """The state after one more record. An unknown record changes nothing."""
    record = entry.record
    if type(record) is ModelChunk:  # by far the most frequent record; all but one kind change nothing
        return redacted(state, record.chunk["redactContent"]) if "redactContent" in record.chunk else state
    if isinstance(record, ModelStarted):
        opened = state.call_open if record.continues and state.call_open is not None else entry.seq
        return replace(
            state,
            call_open=opened,
            call_end=None,
            attempts=state.attempts + 1,
            failed=None,
            rested=False,
            calls=state.calls + 1,
            managed=False,
            summarizing=bool(record.summarizes),
            unredacted=state.unredacted if record.continues else None,
        )
    if isinstance(record, RunClaimed | RunHandedOver) and state.call_open is not None and state.call_end is None:
        state = replace(state, call_end=entry.seq - 1)
    handler = _HANDLERS.get(type(record))
    return handler(state, record) if handler else state


def _submitted(state: RunState, record: RunSubmitted) -> RunState:
    return replace(
        state,
        agent=record.agent,
        session=record.session,
        prompt=record.prompt,
        invocation_state=record.invocation_state,
        terms=Terms.read(record.options),
    )


def _message_added(state: RunState, record: MessageAdded) -> RunState:
    message = record.message
    if record.origin in ("prompt", "repair"):
        return replace(state, messages=(*state.messages, message), opened=state.opened + 1)
    if record.origin == "steer":
        phase: Phase = "between" if state.phase in ("answered", "closed") else state.phase
        state = replace(state, forced=False, output=None)
        return replace(state, messages=(*state.messages, message), phase=phase, steers=state.steers[1:])
    if record.origin == "stop":
        stop = state.stop and state.stop.said
        return replace(state, messages=(*state.messages, message), stop=stop, cancel_text=None, closing=True)
    if record.origin == "structured_output":
        return replace(state, messages=(*state.messages, message), phase="between", forced=True)
    if record.origin == "tools":
        state = replace(_batch_ended(state), messages=(*state.messages, message), phase="between")
        state = replace(state, totals=end_cycle(state.totals, record))
        return state if state.last_message is None else closed_with(state, state.last_message)
    if record.stop_reason == "max_tokens":
        message = _without_tool_uses(message)
    return replace(
        state,
        messages=(*state.messages, message),
        phase="answered",
        call_open=None,
        call_end=None,
        stop_reason=record.stop_reason,
        totals=end_cycle(count_message(state.totals, record.message), record),
    )


def _batch_ended(state: RunState) -> RunState:
    return replace(
        state,
        started=frozenset(),
        results={},
        kept=(),
        keys={},
        spent=state.spent.union(state.keys.values()),
        interrupted={},
        interrupts={},
        responses={},
        decided={},
        children={},
        refused=None,
        paused=False,
    )


def _without_tool_uses(message: Message) -> Message:
    """The message, cut at the token limit, as the history keeps it: its tool calls may be cut too and must not run."""

    def safe(block: ContentBlock) -> ContentBlock:
        if "toolUse" not in block:
            return block
        return {"text": _TRUNCATED.format(name=block["toolUse"].get("name") or "<unknown>")}

    return cast("Message", {**message, "content": [safe(block) for block in message.get("content", [])]})


def _tool_started(state: RunState, record: ToolStarted) -> RunState:
    if record.nested:  # the call that it was made in counts
        return state
    keys = {**state.keys, record.index: record.effect_key}
    state = replace(state, started=state.started | {record.index}, keys=keys)
    asked = state.interrupted.get(record.index)
    if asked is None:
        return state
    # The outcome of the call before is known; the outcome of this one is a new question.
    kept = {key: given for key, given in state.responses.items() if not (key in asked and is_outcome_question(key))}
    return replace(state, responses=kept, interrupted=_without(state.interrupted, record.index))


def _tool_interrupted(state: RunState, record: ToolInterrupted) -> RunState:
    if record.nested:  # the call that it was made in counts
        return state
    asked = {str(interrupt.get("id")): interrupt for interrupt in record.interrupts}
    known = not any(is_outcome_question(key) for key in asked)
    return replace(
        state,
        started=state.started - {record.index} if known else state.started,
        decided=_without(state.decided, record.index) if known else state.decided,
        interrupted={**state.interrupted, record.index: tuple(asked)},
        interrupts={**state.interrupts, **asked},
        responses={key: given for key, given in state.responses.items() if key not in asked},
    )


K = TypeVar("K")


V = TypeVar("V")


def _without(mapping: Mapping[K, V], left_out: K) -> dict[K, V]:
    return {key: value for key, value in mapping.items() if key != left_out}


def _signal(state: RunState, record: SignalReceived) -> RunState:
    if state.status == "paused":  # the process that received the signal owns the run now
        state = replace(state, status="running")
    match record.kind:
        case "cancel":
            return cancelled(state, Cancel.read(record.body))
        case "respond":
            return _responded(_restated(state, record), record.body)
        case "steer":
            return replace(state, steers=(*state.steers, *_said(record.body)))
        case _:
            return state


def _restated(state: RunState, record: SignalReceived) -> RunState:
    given = record.invocation_state
    return state if given is None else replace(state, invocation_state=given, restated=True)


def _responded(state: RunState, body: Any) -> RunState:
    """Apply the responses to open interrupts; None is not a response, as in Strands."""
    given = cast("Mapping[str, Any]", body) if isinstance(body, Mapping) else {}
    responses = {key: value for key, value in given.items() if key in state.interrupts and value is not None}
    left = {key: interrupt for key, interrupt in state.interrupts.items() if key not in responses}
    return replace(state, interrupts=left, responses={**state.responses, **responses})


def _said(body: Any) -> list[Message]:
    try:
        return prompt_messages(body) or []
    except (EncodingError, ValueError):  # clients refuse it; one that was stored nevertheless must not end the run
        return []


def _tool_finished(state: RunState, record: ToolFinished) -> RunState:
    if record.nested:  # the call that it was made in counts
        return state
    totals = count_tool(state.totals, record)
    if (stop := Stop.read(record.stop)) is not None:
        state = replace(state, stop=stop.after(state.stop))
    return replace(state, results={**state.results, record.index: record.result}, totals=totals)


def _cycle_started(state: RunState, record: CycleStarted) -> RunState:
    return replace(
        state,
        cycle=record.cycle,
        totals=begin_cycle(state.totals, record),
        phase="cycle",
        attempts=0,
        failed=None,
        failures=state.failures if record.again else 0,
        waited=state.waited if record.again else 0.0,
        call_open=None,
        call_end=None,
        stop_reason=None,
        overflow=None,
        again=False,
        managed=False,
        summarizing=False,
    )


def _model_failed(state: RunState, record: ModelFailed) -> RunState:
    if record.overflow:
        return after_refusal(state, record)
    waited = state.waited + record.delay
    return replace(state, failed=record, failures=state.failures + 1, waited=waited, rested=False)


def _step_finished(state: RunState, record: StepFinished) -> RunState:
    return replace(state, call_open=None, call_end=None) if record.ends_call else state


_HANDLERS: Final[dict[type[Record], Any]] = {
    RunSubmitted: _submitted,
    RunClaimed: lambda state, _: replace(state, status="running"),
    RunHandedOver: lambda state, record: replace(state, status="queued", rested=record.delay > 0),
    CycleStarted: _cycle_started,
    ModelRetried: lambda state, record: replace(
        without_redaction(state),
        call_open=None,
        call_end=None,
        summarizing=False,
        totals=count_usage(state.totals, record.usage),
    ),
    ModelFailed: _model_failed,
    ContextReduced: after_reduction,
    MessageAdded: _message_added,
    ToolDecided: lambda state, record: tool_decided(with_state_change(state, record.state), record),
    HookDecided: hook_decided,
    ToolStarted: _tool_started,
    ToolFinished: lambda state, record: _tool_finished(with_state_change(state, record.state), record),
    ToolInterrupted: lambda state, record: _tool_interrupted(with_state_change(state, record.state), record),
    StateChanged: state_changed,
    ChildStarted: lambda state, record: replace(state, children=child_started(state.children, record)),
    ChildRecorded: lambda state, record: replace(state, children=child_recorded(state.children, record)),
    StepFinished: _step_finished,
    StructuredOutputProduced: lambda state, record: replace(state, output=record.value),
    RunPaused: lambda state, _: replace(state, status="paused", paused=True, kept=ordered_results(state)),
    RunResumed: lambda state, _: replace(
        state, status="running", paused=False, forced=False, resumed=(state.totals, state.cycle)
    ),
    SignalReceived: _signal,
    RunCompleted: lambda state, _: replace(state, status="completed"),
    RunFailed: lambda state, _: replace(state, status="failed"),
    RunCancelled: lambda state, _: replace(state, status="cancelled"),
}
