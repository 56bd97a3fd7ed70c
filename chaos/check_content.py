"""Compares the texts of model and tools word for word with the plan: none is lost, swapped or from another run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaos.check_model import text_of
from chaos.check_tools import ToolCall, checked_by_loop, tool_calls
from chaos.evidence import Evidence, Violation
from chaos.plan import FAIL, RETRY, TOLD, PlannedMessage, human_response, plan_in, planned_message, prompt, tool_text
from playhead.runtime.core.converse import Message
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME
from playhead.runtime.core.model_input import for_model
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    ModelChunk,
    ModelStarted,
    RunCompleted,
    RunSubmitted,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)

__all__ = ["check_content"]


def check_content(evidence: Evidence, history: Sequence[Message]) -> list[Violation]:
    """Compare every word with the chain that follows from this run's history, and every result with its call."""
    return [*_words(evidence, history), *_results(evidence), *_result(evidence)]


def _words(evidence: Evidence, history: Sequence[Message]) -> list[Violation]:
    plan, found = evidence.plan, list[Violation]()
    messages = list(history)
    expected: PlannedMessage | None = None
    place = 0
    for entry in evidence.entries:
        record = entry.record

        def flaw(what: str, seq: int = entry.seq) -> None:
            found.append(Violation("chain", plan.run, seq, what))

        if isinstance(record, RunSubmitted) and record.prompt != prompt(plan):
            flaw("the prompt is not the one that was submitted")
        elif isinstance(record, ModelStarted) and not record.continues:
            expected, place = _expected(evidence, messages), 0
            if expected is None:
                flaw("the model is called without its prompt")
        elif isinstance(record, ModelChunk) and expected is not None and (text := text_of(record.chunk)):
            wanted = expected.words[place] if place < len(expected.words) else None
            if text != wanted:
                flaw(f"word {place} is {text!r}, not {wanted!r}")
                expected = None  # the following words differ because of this one
            place += 1
        elif isinstance(record, MessageAdded):
            messages.append(record.message)
            if record.origin == "model" and record.stop_reason != "cancelled" and expected is not None:
                if record.message.get("content") != expected.content or expected.breaks:
                    flaw("the message is not the one that follows from this history")
                elif place != len(expected.words):
                    flaw(f"{place} of {len(expected.words)} words were streamed")
                expected = None
    return found


def _expected(evidence: Evidence, messages: Sequence[Message]) -> PlannedMessage | None:
    told = for_model(messages)
    try:
        plan, messages_after = plan_in(told)
    except ValueError:
        return None
    return planned_message(evidence.plan, messages_after + 1, told) if plan == evidence.plan else None


def _results(evidence: Evidence) -> list[Violation]:
    """Check that each result is the one that the body returns for the input, or an error that a cancel or a takeover allows."""
    found: list[Violation] = []
    cancelled, by_loop = "cancel" in evidence.signals.values(), checked_by_loop(evidence.entries)
    for name, call in tool_calls(evidence.entries).items():
        for entry in call.results:
            record = entry.record
            if not isinstance(record, ToolFinished) or record.name == by_loop:
                continue
            allowed = _allowed(call, entry)
            given = None if record.result["status"] == "error" else record.result["content"]
            if given not in allowed and not (given is None and cancelled):
                what = f"call {name} of {record.name} has the result {record.result}, not the one that its body returns"
                found.append(Violation("result", evidence.plan.run, entry.seq, what))
    return found


def _allowed(call: ToolCall, result: Entry) -> list[list[dict[str, Any]] | None]:
    """The results that the call may have; None for an error."""
    assert isinstance(result.record, ToolFinished)
    taken_over = any(start.epoch < result.epoch for start in call.starts)
    asked = [one["id"] for entry in call.interruptions for one in _asked(entry) if one["name"] == UNKNOWN_OUTCOME]
    if asked:
        told = human_response({"name": UNKNOWN_OUTCOME, "id": asked[0]})
        if told != RETRY:
            return [None if told == FAIL else [{"text": TOLD}]]
    own = [{"text": _text(call.starts[0])}] if call.starts else []
    return [own, None] if result.record.name == "careful" and taken_over else [own]


def _asked(interruption: Entry) -> list[dict[str, Any]]:
    return interruption.record.interrupts if isinstance(interruption.record, ToolInterrupted) else []


def _text(start: Entry) -> str:
    record = start.record
    assert isinstance(record, ToolStarted)
    name, link = record.tool_use["name"], (record.tool_use["input"] or {}).get("link", "")
    text = tool_text(name, link)
    return f"{text} {human_response({'name': 'which', 'reason': link})}" if name == "asking" else text


def _result(evidence: Evidence) -> list[Violation]:
    """Check that the run's result is its last message."""
    last = evidence.entries[-1] if evidence.entries else None
    if last is None or not isinstance(last.record, RunCompleted):
        return []
    sent = [
        entry.record.message
        for entry in evidence.entries
        if isinstance(entry.record, MessageAdded) and entry.record.origin == "model"
    ]
    told = last.record.result.get("message") or {}
    if sent and told.get("content") == sent[-1].get("content"):
        return []
    return [Violation("chain", evidence.plan.run, last.seq, "the result is not the last message")]
