"""The state of a run as a fold over its records. Pure: no I/O, no clock.

    state = reduce(evolve, entries, RunState(history))

An empty log, half a log and a finished log go through the same code; `decide` reads the state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar, cast

from playhead.runtime.core.converse import Chunk, ContentBlock, Message, ToolResult, ToolUse
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.intake import mended
from playhead.runtime.core.interrupts import is_outcome_question
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
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
    RunStateName,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)

__all__ = ["RunState", "Totals", "effect_key", "evolve", "fold", "initial", "open_chunks", "tool_uses"]

Phase = Literal["opening", "cycle", "answered", "between"]

_TRUNCATED: Final = "The selected tool {name}'s tool use was incomplete due to maximum token limits being reached."


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a run: tokens and model latency summed over its finished calls, tool calls by name."""

    usage: Mapping[str, int] = field(default_factory=lambda: {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
    latency_ms: int = 0
    tools: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything `decide` needs to know about a run.

    Attributes:
        messages: The history before the run, then what the run has added.
        history: How many of `messages` were there before the run.
        opened: How many opening messages (repair and prompt) are in.
        phase: `opening` until the first cycle, `cycle` until the model's message is in, `answered` once it is in,
            `between` after the tools' results are in.
        call_open: The `seq` of a `model.started` whose message is not in yet; if calls continue each other, of the
            first.
        call_end: The `seq` of the last record its owner wrote, once the call is known to have stopped half-way.
        attempts: Model calls begun in this cycle.
        failed: The transient failure of the last call, until the call is made again.
        failures, waited: Number of transient failures in this cycle, and the seconds of their waits together.
        stop_reason: The stop reason of the last message.
        started, results: Calls of the current tool batch, by their index in it. `started` are those whose body began
            and did not stop at an interrupt.
        keys: Effect keys of all calls of the batch that have begun.
        spent: Effect keys of earlier batches.
        interrupted: By call, the ids of the interrupts it stopped at.
        interrupts: The open interrupts, by id.
        responses: The responses of this batch, by interrupt id.
        paused: The run waits, or waited, for responses and has not resumed yet.
        steers: Steers, as messages, that are not in the history yet.
        cancelled: A cancel is in force.
        resumed: `totals` when the run last resumed after a pause, and the cycle it paused in.
    """

    messages: tuple[Message, ...] = ()
    history: int = 0
    status: RunStateName = "queued"
    agent: str = ""
    session: str | None = None
    prompt: Any = None
    invocation_state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    opened: int = 0
    phase: Phase = "opening"
    cycle: int = 0
    call_open: int | None = None
    call_end: int | None = None
    attempts: int = 0
    failed: ModelFailed | None = None
    failures: int = 0
    waited: float = 0.0
    stop_reason: str | None = None
    started: frozenset[int] = frozenset()
    results: Mapping[int, ToolResult] = field(default_factory=dict[int, ToolResult])
    keys: Mapping[int, str] = field(default_factory=dict[int, str])
    spent: frozenset[str] = frozenset()
    interrupted: Mapping[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    interrupts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    responses: Mapping[str, Any] = field(default_factory=dict[str, Any])
    paused: bool = False
    steers: tuple[Message, ...] = ()
    cancelled: bool = False
    totals: Totals = Totals()
    resumed: tuple[Totals, int] | None = None

    @property
    def added(self) -> tuple[Message, ...]:
        """The messages this run adds to its session, in order."""
        return self.messages[self.history :]

    def is_waiting(self, index: int) -> bool:
        """Whether the call at `index` waits for a response."""
        return any(asked in self.interrupts for asked in self.interrupted.get(index, ()))


def initial(history: Iterable[Message] = ()) -> RunState:
    """The state before record 1, given the messages the run starts from."""
    messages = tuple(map(mended, history))  # a session may hold what an older version let pass
    return RunState(messages=messages, history=len(messages))


def fold(entries: Iterable[Entry], *, history: Iterable[Message] = ()) -> RunState:
    """The state after `entries`, which start at record 1."""
    state = initial(history)
    for entry in entries:
        state = evolve(state, entry)
    return state


def open_chunks(state: RunState, entries: Sequence[Entry]) -> list[Chunk]:
    """The chunks of the open model call among `entries`; `state` is the fold of `entries`."""
    if state.call_open is None:
        return []
    rest = itertools.dropwhile(lambda entry: entry.seq < cast("int", state.call_open), entries)
    return [entry.record.chunk for entry in rest if isinstance(entry.record, ModelChunk)]


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


def evolve(state: RunState, entry: Entry) -> RunState:
    """The state after one more record. Unknown records change nothing."""
    record = entry.record
    if type(record) is ModelChunk:  # by far the most frequent record; all but one kind change nothing
        return _redacted(state, record.chunk["redactContent"]) if "redactContent" in record.chunk else state
    if isinstance(record, ModelStarted):
        opened = state.call_open if record.continues and state.call_open is not None else entry.seq
        return replace(state, call_open=opened, call_end=None, attempts=state.attempts + 1, failed=None)
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
    )


def _message_added(state: RunState, record: MessageAdded) -> RunState:
    message = record.message
    if record.origin in ("prompt", "repair"):
        return replace(state, messages=(*state.messages, message), opened=state.opened + 1)
    if record.origin == "steer":
        phase: Phase = "between" if state.phase == "answered" else state.phase
        return replace(state, messages=(*state.messages, message), phase=phase, steers=state.steers[1:])
    if record.origin == "tools":
        return replace(_batch_ended(state), messages=(*state.messages, message), phase="between")
    if record.stop_reason == "max_tokens":
        message = _without_tool_uses(message)
    return replace(
        state,
        messages=(*state.messages, message),
        phase="answered",
        call_open=None,
        call_end=None,
        stop_reason=record.stop_reason,
        totals=_count_message(state.totals, record.message),
    )


def _batch_ended(state: RunState) -> RunState:
    return replace(
        state,
        started=frozenset(),
        results={},
        keys={},
        spent=state.spent.union(state.keys.values()),
        interrupted={},
        interrupts={},
        responses={},
        paused=False,
    )


def _redacted(state: RunState, verdict: Mapping[str, Any]) -> RunState:
    """A guardrail withdraws the last message to the model, because it must not appear in the conversation again."""
    text = verdict.get("redactUserContentMessage")
    if not text or not state.messages:
        return state
    last = state.messages[-1]
    content: list[ContentBlock] = [
        {**block, "toolResult": {**block["toolResult"], "content": [{"text": text}]}}
        for block in last.get("content", [])
        if "toolResult" in block  # the calls before them must keep a result
    ]
    message: Message = {**last, "content": content or [{"text": text}]}
    return replace(state, messages=(*state.messages[:-1], message))


def _without_tool_uses(message: Message) -> Message:
    """The history form of a message cut at the token limit: its tool calls may be cut too and must not run."""

    def safe(block: ContentBlock) -> ContentBlock:
        if "toolUse" not in block:
            return block
        return {"text": _TRUNCATED.format(name=block["toolUse"].get("name") or "<unknown>")}

    return cast("Message", {**message, "content": [safe(block) for block in message.get("content", [])]})


def _count_message(totals: Totals, message: Message) -> Totals:
    metadata = message.get("metadata") or {}
    usage = dict(totals.usage)
    for name, count in (metadata.get("usage") or {}).items():
        if isinstance(count, int):
            usage[name] = usage.get(name, 0) + count
    latency = (metadata.get("metrics") or {}).get("latencyMs", 0)
    return replace(totals, usage=usage, latency_ms=totals.latency_ms + latency)


def _tool_started(state: RunState, record: ToolStarted) -> RunState:
    keys = {**state.keys, record.index: record.effect_key}
    state = replace(state, started=state.started | {record.index}, keys=keys)
    asked = state.interrupted.get(record.index)
    if asked is None:
        return state
    # The outcome of the call before is known; the outcome of this one is a new question.
    kept = {key: given for key, given in state.responses.items() if not (key in asked and is_outcome_question(key))}
    return replace(state, responses=kept, interrupted=_without(state.interrupted, record.index))


def _tool_interrupted(state: RunState, record: ToolInterrupted) -> RunState:
    asked = {str(interrupt.get("id")): interrupt for interrupt in record.interrupts}
    known = not any(is_outcome_question(key) for key in asked)
    return replace(
        state,
        started=state.started - {record.index} if known else state.started,
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
            return replace(state, cancelled=True)
        case "respond":
            return _responded(state, record.body)
        case "steer":
            return replace(state, steers=(*state.steers, *_said(record.body)))
        case _:
            return state


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
    counts = dict(state.totals.tools.get(record.name) or {"calls": 0, "ok": 0, "errors": 0})
    counts["calls"] += 1
    counts["ok" if record.result["status"] == "success" else "errors"] += 1
    totals = replace(state.totals, tools={**state.totals.tools, record.name: counts})
    return replace(state, results={**state.results, record.index: record.result}, totals=totals)


def _cycle_started(state: RunState, record: CycleStarted) -> RunState:
    return replace(
        state,
        cycle=record.cycle,
        phase="cycle",
        attempts=0,
        failed=None,
        failures=0,
        waited=0.0,
        call_open=None,
        call_end=None,
        stop_reason=None,
    )


def _model_failed(state: RunState, record: ModelFailed) -> RunState:
    return replace(state, failed=record, failures=state.failures + 1, waited=state.waited + record.delay)


_HANDLERS: Final[dict[type[Record], Any]] = {
    RunSubmitted: _submitted,
    RunClaimed: lambda state, _: replace(state, status="running"),
    RunHandedOver: lambda state, _: replace(state, status="queued"),
    CycleStarted: _cycle_started,
    ModelRetried: lambda state, _: replace(state, call_open=None, call_end=None),
    ModelFailed: _model_failed,
    MessageAdded: _message_added,
    ToolStarted: _tool_started,
    ToolFinished: _tool_finished,
    ToolInterrupted: _tool_interrupted,
    RunPaused: lambda state, _: replace(state, status="paused", paused=True),
    RunResumed: lambda state, _: replace(state, status="running", paused=False, resumed=(state.totals, state.cycle)),
    SignalReceived: _signal,
    RunCompleted: lambda state, _: replace(state, status="completed"),
    RunFailed: lambda state, _: replace(state, status="failed"),
    RunCancelled: lambda state, _: replace(state, status="cancelled"),
}
