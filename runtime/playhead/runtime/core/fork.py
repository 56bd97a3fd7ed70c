"""What a fork of a run begins with: the first records of its parent, and what is different from there on. Pure.

A fork goes on as a run does after a takeover, so every place before the end of its parent can be forked: `decide` knows what
comes next in each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import uuid4

from playhead.runtime.core.converse import Chunk, Message, Prompt, ToolUse
from playhead.runtime.core.definition import session_of_submission
from playhead.runtime.core.errors import ForkAfterEffectsError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.guest_words import is_of_a_guest
from playhead.runtime.core.intake import model_message
from playhead.runtime.core.interrupts import Interrupt, ids_by_name
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.overrides import OVERRIDES
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    CycleStarted,
    Entry,
    EventEmitted,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelStarted,
    Record,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.session import BEGAN_STEP
from playhead.runtime.core.state import RunState
from playhead.runtime.core.tool_results import tool_result

__all__ = ["Fork", "check_effects", "differing", "first_record", "next_records"]

_OWN: Final = ("model", "system_prompt")  # the overrides that a fork may have besides those of its parent


_BEGUN: Final = (MessageAdded, CycleStarted, HookDecided, EventEmitted, ModelStarted, StepFinished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """What a fork is to be.

    Attributes:
        at: How many records of its parent it begins with.
        agent: The name of the agent that runs it; None for that of the parent.
        model: The name of another model than the agent's, such as `openai/gpt-5-mini`; None for none.
        system_prompt: Another system prompt than the agent's; None for none.
        prompt: Another prompt, if it is not None. Only where the parent's is not in the history yet.
        results: By tool use id, the results of calls that have none there; each is what a tool's body could return.
        answers: The answers to questions that are open there, by interrupt id, or by name if no two have that name.
        say: A user message; it enters the history as a steer does.
        accept_effects: Fork also after tools have run.
    """

    at: int
    agent: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    prompt: Prompt = None
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    answers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    say: Prompt = None
    accept_effects: bool = False


def check_effects(entries: Sequence[Entry], fork: Fork, *, parent: str) -> None:
    """Refuse a fork after tools have run, unless that is accepted.

    Raises:
        ForkAfterEffectsError: If a call of a tool is among `entries`, the records that it begins with.
    """
    ran = Counter(entry.record.tool_use["name"] for entry in entries if isinstance(entry.record, ToolStarted))
    if ran and not fork.accept_effects:
        raise ForkAfterEffectsError(parent, at=fork.at, calls=ran)


def first_record(first: Record, fork: Fork, *, parent: str, session: str | None) -> RunSubmitted:
    """Record 1 of the fork, made of its parent's: it names the parent and the place.

    What the parent has instead of its agent's own is for that agent: another agent does not get it.
    """
    if not isinstance(first, RunSubmitted):
        raise ValueError(f"run {parent} cannot be forked: its record 1 is a {first.type}")
    agent = first.agent if fork.agent is None else fork.agent
    kept = {name: value for name, value in first.options.items() if agent == first.agent or name not in OVERRIDES}
    own = {name: value for name in _OWN if (value := getattr(fork, name)) is not None}
    place: dict[str, Any] = {"run": parent, "at": fork.at}
    if first.options.keys() & {*OVERRIDES} or "of" in first.options.get("fork", {}):
        place["of"] = {name: value for name, value in first.options.items() if name in ("fork", *OVERRIDES)}
    if (submitted_in := session_of_submission(first)) is not None:
        place["session"] = submitted_in
    options = {**kept, "fork": place, **own}
    prompt = first.prompt if fork.prompt is None else fork.prompt
    return first.model_copy(update={"agent": agent, "prompt": prompt, "session": session, "options": options})


def next_records(
    entries: Sequence[Entry], fork: Fork, *, parent: str, history: Sequence[Message], chunks: Sequence[Chunk] = ()
) -> list[Record]:
    """The records of the fork after those of its parent: what it is told, or gets as the result of a call.

    Args:
        entries: The records that it begins with, at least those that `changes_state`.
        fork: What it is to be.
        parent: The id of its parent.
        history: The messages that its parent began from.
        chunks: Those of the model call that is open there.

    Raises:
        ValueError: The parent had ended there, or no such call or question is open; the text names those that are.
    """
    last = entries[-1].record
    if last.type in TERMINAL_TYPES:
        raise ValueError(f"record {fork.at} ended run {parent} ({last.type}): fork it at {fork.at - 1} or before")
    if fork.prompt is not None:
        _check_prompt(entries, parent)
    state, hosted = fold(entries, history=history), any(map(is_of_a_guest, entries))
    found = _calls_of_a_guest(state, entries) if hosted else _calls(state)
    records: list[Record] = [_finished(found, fork, use, value) for use, value in fork.results.items()]
    if fork.answers:
        records.append(_answered(_questions_of_a_guest(entries) if hosted else state.interrupts.values(), fork))
    if fork.say is not None:
        records += _words_so_far(chunks) if state.call_open is not None and not hosted else []
        records.append(SignalReceived(at=now_ms(), signal_id=uuid4().hex, kind="steer", body=fork.say))
    return records


def _words_so_far(chunks: Sequence[Chunk]) -> list[Record]:
    """The answer that is open as a message that ends there; nothing for one without words, or with the call of a tool.

    It is what the loop makes of a stream that ends after its block, so that `verify` finds the same.
    """
    assembler = MessageAssembler()
    end: Chunk = {"contentBlockStop": {}}
    for chunk in (*chunks, end):
        assembler.feed(chunk)
    message = model_message(assembler.message())
    if not assembler.text or any("toolUse" in block for block in message.get("content", [])):
        return []
    tracked: Message = {**message, "tracking_id": str(uuid4())}
    at, reason = now_ms(), assembler.stop_reason
    return [ModelChunk(at=at, chunk=end), MessageAdded(at=at, message=tracked, origin="model", stop_reason=reason)]


def _check_prompt(entries: Sequence[Entry], parent: str) -> None:
    for entry in entries:
        if isinstance(entry.record, _BEGUN) and getattr(entry.record, "key", "") != BEGAN_STEP:
            raise ValueError(
                f"run {parent} has begun with its prompt at record {entry.seq}: for another prompt fork it at "
                f"{entry.seq - 1} or before"
            )


@dataclass(frozen=True, slots=True)
class _Call:
    """A call without a result."""

    index: int
    tool_use: ToolUse
    lane: str = ""


def _calls(state: RunState) -> list[_Call]:
    return [_Call(call.index, call.tool_use) for call in open_calls(state) if call.state != "waiting"]


def _calls_of_a_guest(state: RunState, entries: Sequence[Entry]) -> list[_Call]:
    """The calls that have begun, which may lie within others, and those that the last message asks for."""
    found: dict[str, _Call] = {}
    for entry in entries:
        if isinstance(entry.record, ToolStarted):
            found[entry.record.lane] = _Call(entry.record.index, entry.record.tool_use, entry.record.lane)
        elif isinstance(entry.record, ToolFinished | ToolInterrupted):
            found.pop(entry.record.lane, None)
    for call in open_calls(state):
        if call.state == "ready":
            lane = f"/{call.tool_use['toolUseId']}"
            found.setdefault(lane, _Call(call.index, call.tool_use, lane))
    return list(found.values())


def _finished(found: Sequence[_Call], fork: Fork, use_id: str, value: Any) -> Record:
    for call in found:
        if call.tool_use["toolUseId"] == use_id:
            name = call.tool_use["name"]
            result = tool_result(use_id, value, tool_name=name)
            return ToolFinished(at=now_ms(), index=call.index, name=name, result=result, lane=call.lane)
    known = ", ".join(f"{call.tool_use['toolUseId']} ({call.tool_use['name']})" for call in found)
    raise ValueError(
        f"no call {use_id!r} needs a result after record {fork.at}: "
        + (f"those are {known}" if known else "no call does; fork before the call's tool.finished")
    )


def _questions_of_a_guest(entries: Sequence[Entry]) -> Iterable[Mapping[str, Any]]:
    """The questions that are open: a guest may ask outside of any call."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if isinstance(entry.record, RunPaused | ToolInterrupted):
            found |= {str(one["id"]): one for one in entry.record.interrupts}
        elif isinstance(entry.record, SignalReceived) and entry.record.kind == "respond":
            for question in cast("Mapping[str, Any]", entry.record.body or {}):
                found.pop(question, None)
    return found.values()


def _answered(questions: Iterable[Mapping[str, Any]], fork: Fork) -> Record:
    interrupts = [Interrupt(one) for one in questions]
    ids, body = ids_by_name(interrupts), dict[str, Any]()
    for given, answer in fork.answers.items():
        question = ids.get(given)
        if question is None or question in body:
            known = ", ".join(one.id for one in interrupts)
            raise ValueError(
                f"no {'other ' if question in body else ''}question {given!r} is open after record {fork.at}: "
                + (f"those are {known}" if known else "no question is")
            )
        body[question] = answer
    return SignalReceived(at=now_ms(), signal_id=uuid4().hex, kind="respond", body=body)


def differing(asked: Sequence[Record], stored: Sequence[Record]) -> list[str]:
    """In what a fork that is asked for differs from a run that is stored under its id; empty if that is this fork.

    Args:
        asked: Its record 1, and the records after those of its parent.
        stored: The same records of the run.
    """
    mine, theirs = asked[0], stored[0]
    assert isinstance(mine, RunSubmitted)
    if not isinstance(theirs, RunSubmitted) or "fork" not in theirs.options:
        return ["parent"]
    place, other = mine.options["fork"], theirs.options["fork"]
    pairs = {
        "parent": (place["run"], other["run"]),
        "at": (place["at"], other["at"]),
        "agent": (mine.agent, theirs.agent),
        "prompt": (mine.prompt, theirs.prompt),
        **{name: (mine.options.get(name), theirs.options.get(name)) for name in OVERRIDES},
    }
    found = [name for name, (left, right) in pairs.items() if left != right]
    return found or ([] if _told(asked) == _told(stored) else ["results, answers or say"])


def _told(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What the fork is told, without the times and ids that are new for each call."""
    return [cast("dict[str, Any]", _lasting(dict(one))) for one in records[1:]]


def _lasting(value: object) -> object:
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {name: _lasting(item) if name == "message" else item for name, item in items if name not in _NEW}
    return value


_NEW: Final = ("at", "signal_id", "tracking_id")
