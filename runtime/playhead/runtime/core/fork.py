"""What a fork of a run begins with: the first records of its parent, and what is different from there on. Pure.

A fork goes on as a run does after a takeover, so every place before the end of its parent can be forked: `decide` knows what
comes next in each of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from playhead.runtime.core.converse import Message, Prompt
from playhead.runtime.core.errors import ForkAfterEffectsError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    CycleStarted,
    Entry,
    MessageAdded,
    Record,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.state import RunState
from playhead.runtime.core.tool_results import tool_result

__all__ = ["Fork", "check_effects", "first_record", "next_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """What a fork is to be.

    Attributes:
        at: How many records of its parent it begins with.
        prompt: Another prompt, if it is not None. Only where the parent's is not in the history yet.
        results: By tool use id, the results of calls that have none there; each is what a tool's body could return.
        answers: By interrupt id, the answers to questions that are open there.
        say: A user message; it enters the history as a steer does.
        accept_effects: Fork also after tools have run.
    """

    at: int
    prompt: Prompt = None
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    answers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    say: Prompt = None
    accept_effects: bool = False


def check_effects(entries: Sequence[Entry], fork: Fork, *, parent: str) -> None:
    """Refuse a fork after tools have run, unless that is accepted.

    Raises:
        ForkAfterEffectsError: Among `entries`, the records that it begins with, is a call of a tool.
    """
    ran = Counter(entry.record.tool_use["name"] for entry in entries if isinstance(entry.record, ToolStarted))
    if ran and not fork.accept_effects:
        raise ForkAfterEffectsError(parent, at=fork.at, calls=ran)


def first_record(first: Record, fork: Fork, *, parent: str, session: str | None) -> RunSubmitted:
    """Record 1 of the fork, made of its parent's: it names the parent and the place."""
    if not isinstance(first, RunSubmitted):
        raise ValueError(f"run {parent} cannot be forked: its record 1 is a {first.type}")
    options = {**first.options, "fork": {"run": parent, "at": fork.at}}
    prompt = first.prompt if fork.prompt is None else fork.prompt
    return first.model_copy(update={"prompt": prompt, "session": session, "options": options})


def next_records(entries: Sequence[Entry], fork: Fork, *, parent: str, history: Sequence[Message]) -> list[Record]:
    """The records of the fork after those of its parent: what it is told, or gets as the result of a call.

    Args:
        entries: The records that it begins with.
        fork: What it is to be.
        parent: The id of its parent.
        history: The messages that its parent began from.

    Raises:
        ValueError: The parent had ended there, or no such call or question is open; the text names those that are.
    """
    last = entries[-1].record
    if last.type in TERMINAL_TYPES:
        raise ValueError(f"record {fork.at} ended run {parent} ({last.type}): fork it at {fork.at - 1} or before")
    if fork.prompt is not None:
        _check_prompt(entries, parent)
    state = fold(entries, history=history)
    records = [_finished(state, fork, use, value) for use, value in fork.results.items()]
    if fork.answers:
        records.append(_answered(state, fork))
    if fork.say is not None:
        records.append(SignalReceived(at=now_ms(), signal_id=uuid4().hex, kind="steer", body=fork.say))
    return records


def _check_prompt(entries: Sequence[Entry], parent: str) -> None:
    for entry in entries:
        if isinstance(entry.record, MessageAdded | CycleStarted):
            raise ValueError(
                f"run {parent} has begun with its prompt at record {entry.seq}: for another prompt fork it at "
                f"{entry.seq - 1} or before"
            )


def _finished(state: RunState, fork: Fork, use_id: str, value: Any) -> Record:
    found = [call for call in open_calls(state) if call.state != "waiting"]
    for call in found:
        if call.tool_use["toolUseId"] == use_id:
            name = call.tool_use["name"]
            result = tool_result(use_id, value, tool_name=name)
            return ToolFinished(at=now_ms(), index=call.index, name=name, result=result)
    known = ", ".join(f"{call.tool_use['toolUseId']} ({call.tool_use['name']})" for call in found)
    raise ValueError(
        f"no call {use_id!r} needs a result after record {fork.at}: "
        + (f"those are {known}" if known else "no call does; fork before the call's tool.finished")
    )


def _answered(state: RunState, fork: Fork) -> Record:
    for interrupt in fork.answers:
        if interrupt not in state.interrupts:
            known = ", ".join(state.interrupts)
            raise ValueError(
                f"no question {interrupt!r} is open after record {fork.at}: "
                + (f"those are {known}" if known else "no question is")
            )
    return SignalReceived(at=now_ms(), signal_id=uuid4().hex, kind="respond", body=dict(fork.answers))
