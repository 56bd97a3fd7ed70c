"""The state of a run as a fold over its records. Pure: no I/O, no clock.

    state = reduce(evolve, entries, RunState(history))

An empty log, half a log and a finished log go through the same code; `decide` reads the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from playhead.runtime.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.types import ContentBlock, Message, ToolResult, ToolUse

__all__ = ["RunState", "Status", "Totals", "evolve", "fold", "initial", "tool_uses"]

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Phase = Literal["opening", "cycle", "answered", "between"]

_TRUNCATED: Final = "The selected tool {name}'s tool use was incomplete due to maximum token limits being reached."


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run has used: tokens and model latency summed over its finished calls, tool calls by name."""

    usage: Mapping[str, int] = field(default_factory=lambda: {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
    latency_ms: int = 0
    tools: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything `decide` needs to know of a run.

    Attributes:
        messages: The history before the run, then what the run has added.
        history: How many of `messages` were there before the run.
        opened: How many opening messages (repair and prompt) are in.
        phase: `opening` until the first cycle, `cycle` while the model's answer is awaited, `answered` once it is in,
            `between` after the tools' results are in.
        call_open: The `seq` of a `model.started` whose answer is not in yet.
        call_end: The `seq` of the last record its owner wrote, once it is known to have stopped half-way.
        attempts: Model calls begun in this cycle.
        stop_reason: Of the last answer.
        started, results: Calls of the current tool batch, by their index in it.
        cancelled: A cancel is in force.
    """

    messages: tuple[Message, ...] = ()
    history: int = 0
    status: Status = "queued"
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
    stop_reason: str | None = None
    started: frozenset[int] = frozenset()
    results: Mapping[int, ToolResult] = field(default_factory=dict[int, ToolResult])
    cancelled: bool = False
    totals: Totals = Totals()

    @property
    def added(self) -> tuple[Message, ...]:
        """The messages this run adds to its session, in order."""
        return self.messages[self.history :]


def initial(history: Iterable[Message] = ()) -> RunState:
    """The state before record 1, given the messages the run starts from."""
    messages = tuple(history)
    return RunState(messages=messages, history=len(messages))


def fold(entries: Iterable[Entry], *, history: Iterable[Message] = ()) -> RunState:
    """The state after `entries`, which start at record 1."""
    state = initial(history)
    for entry in entries:
        state = evolve(state, entry)
    return state


def tool_uses(message: Message) -> list[ToolUse]:
    """The tool calls a message asks for, in order."""
    return [cast("ToolUse", block["toolUse"]) for block in message.get("content", []) if "toolUse" in block]


def evolve(state: RunState, entry: Entry) -> RunState:
    """The state after one more record. Unknown records change nothing."""
    record = entry.record
    if type(record) is ModelChunk:  # by far the most frequent, and all but one kind change nothing
        return _redacted(state, record.chunk["redactContent"]) if "redactContent" in record.chunk else state
    if isinstance(record, ModelStarted):
        return replace(state, call_open=entry.seq, call_end=None, attempts=state.attempts + 1)
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
    if record.origin == "tools":
        return replace(state, messages=(*state.messages, message), phase="between", started=frozenset(), results={})
    if record.stop_reason == "max_tokens":
        message = _without_tool_uses(message)
    return replace(
        state,
        messages=(*state.messages, message),
        phase="answered",
        call_open=None,
        call_end=None,
        stop_reason=record.stop_reason,
        totals=_count_answer(state.totals, record.message),
    )


def _redacted(state: RunState, verdict: Mapping[str, Any]) -> RunState:
    """A guardrail withdraws what the model was last told: it must not come up again in the conversation."""
    text = verdict.get("redactUserContentMessage")
    if not text or not state.messages:
        return state
    last = state.messages[-1]
    content: list[ContentBlock] = [
        {**block, "toolResult": {**block["toolResult"], "content": [{"text": text}]}}
        for block in last.get("content", [])
        if "toolResult" in block  # the calls before them must stay answered
    ]
    message: Message = {**last, "content": content or [{"text": text}]}
    return replace(state, messages=(*state.messages[:-1], message))


def _without_tool_uses(message: Message) -> Message:
    """The history form of an answer cut at the token limit: its tool calls may be cut too and must not run."""

    def safe(block: ContentBlock) -> ContentBlock:
        if "toolUse" not in block:
            return block
        return {"text": _TRUNCATED.format(name=block["toolUse"].get("name") or "<unknown>")}

    return cast("Message", {**message, "content": [safe(block) for block in message.get("content", [])]})


def _count_answer(totals: Totals, message: Message) -> Totals:
    metadata = message.get("metadata") or {}
    usage = dict(totals.usage)
    for name, count in (metadata.get("usage") or {}).items():
        if isinstance(count, int):
            usage[name] = usage.get(name, 0) + count
    latency = (metadata.get("metrics") or {}).get("latencyMs", 0)
    return replace(totals, usage=usage, latency_ms=totals.latency_ms + latency)


def _tool_started(state: RunState, record: ToolStarted) -> RunState:
    return replace(state, started=state.started | {record.index})


def _tool_finished(state: RunState, record: ToolFinished) -> RunState:
    counts = dict(state.totals.tools.get(record.name) or {"calls": 0, "ok": 0, "errors": 0})
    counts["calls"] += 1
    counts["ok" if record.result["status"] == "success" else "errors"] += 1
    totals = replace(state.totals, tools={**state.totals.tools, record.name: counts})
    return replace(state, results={**state.results, record.index: record.result}, totals=totals)


def _cycle_started(state: RunState, record: CycleStarted) -> RunState:
    return replace(
        state, cycle=record.cycle, phase="cycle", attempts=0, call_open=None, call_end=None, stop_reason=None
    )


_HANDLERS: Final[dict[type[Record], Any]] = {
    RunSubmitted: _submitted,
    RunClaimed: lambda state, _: replace(state, status="running"),
    RunHandedOver: lambda state, _: replace(state, status="queued"),
    CycleStarted: _cycle_started,
    ModelRetried: lambda state, _: replace(state, call_open=None, call_end=None),
    MessageAdded: _message_added,
    ToolStarted: _tool_started,
    ToolFinished: _tool_finished,
    SignalReceived: lambda state, record: replace(state, cancelled=state.cancelled or record.kind == "cancel"),
    RunCompleted: lambda state, _: replace(state, status="completed"),
    RunFailed: lambda state, _: replace(state, status="failed"),
    RunCancelled: lambda state, _: replace(state, status="cancelled"),
}
