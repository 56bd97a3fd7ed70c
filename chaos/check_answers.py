"""Compares a run with its provider's answers: nothing lost, nothing changed, and a true end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chaos.answers import FATAL, Answer, Said, Task, answer_of, differs, joined, result_text
from chaos.evidence import Evidence, Violation
from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.tool_input import unread_input

__all__ = ["check_answers"]

_WORDLESS: Final = frozenset({"away for good", "token limit"})
"""The failures of a provider that come without words."""


def check_answers(evidence: Evidence, task: Task) -> list[Violation]:
    """Compare a run's prompt, messages, tools and end with its task."""
    return [*_prompt(evidence, task), *_Run(evidence, task).flaws, *_end(evidence, task)]


def _prompt(evidence: Evidence, task: Task) -> list[Violation]:
    first = evidence.entries[0].record if evidence.entries else None
    if isinstance(first, RunSubmitted) and first.prompt == joined(task.prompt):
        return []
    return [Violation("answer", evidence.plan.run, 1, "the prompt is not the one that was submitted")]


class _Run:
    """The messages and tool calls of a run, in the order of its log."""

    def __init__(self, evidence: Evidence, task: Task) -> None:
        self.flaws: list[Violation] = []
        self._run = evidence.plan.run
        self._task = task
        self._turn = 0
        self._calls: list[tuple[str, object]] = []
        for entry in evidence.entries:
            self._take(entry)

    def _flaw(self, kind: str, entry: Entry, what: str) -> None:
        self.flaws.append(Violation(kind, self._run, entry.seq, what))

    def _take(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, MessageAdded) and record.origin == "model":
            answer, said = answer_of(self._task, self._turn), said_in(record.message)
            if what := _untrue(answer) or differs(said, answer):
                self._flaw("answer", entry, f"answer {self._turn}: {what}")
            self._turn, self._calls = self._turn + 1, said.calls
        elif isinstance(record, ToolStarted):
            call = record.tool_use["name"], record.tool_use["input"]
            if call != self._call(record.index):
                self._flaw("input", entry, f"{call} is started, but the model had called {self._call(record.index)}")
        elif isinstance(record, ToolFinished):
            self._take_result(entry, record)

    def _call(self, index: int) -> tuple[str, object]:
        return self._calls[index] if index < len(self._calls) else ("nothing", None)

    def _take_result(self, entry: Entry, record: ToolFinished) -> None:
        name, given = self._call(record.index)
        result = record.result
        if given is None:
            if result["status"] != "error":
                self._flaw("input", entry, f"{name} has the result {result}, though its input could not be read")
        elif result["content"] != [{"text": joined(result_text(name, given))}] or result["status"] != "success":
            self._flaw("result", entry, f"{name} has the result {result}, not the one that its body returns")


def said_in(message: Message) -> Said:
    """The answer that a message of the log holds."""
    content = message.get("content", [])
    uses = [block["toolUse"] for block in content if "toolUse" in block]
    return Said(
        text="".join(block.get("text", "") for block in content),
        reasoning="".join(
            block["reasoningContent"]["reasoningText"]["text"] for block in content if "reasoningContent" in block
        ),
        calls=[
            (use["name"], use["input"] if unread_input(message, index) is None else None)
            for index, use in enumerate(uses)
        ],
    )


def _untrue(answer: Answer) -> str:
    return f"the provider failed with {answer.fatal!r}" if answer.fatal not in ("", "token limit") else ""


def _end(evidence: Evidence, task: Task) -> list[Violation]:
    """Check the end: a completed run has all its answers, and a failed one has its provider's failure and words."""
    entries = evidence.entries
    last = entries[-1].record if entries else None
    answers = sum(isinstance(entry.record, MessageAdded) and entry.record.origin == "model" for entry in entries)
    what = ""
    if isinstance(last, RunCompleted) and answers != task.rounds + 1:
        what = f"completed with {answers} of {task.rounds + 1} answers"
    elif isinstance(last, RunFailed) and not _is_true(last, [answer_of(task, turn) for turn in range(answers + 1)]):
        what = f"failed with {last.error_type}, which its provider gave no reason for: {last.message}"
    return [Violation("end", evidence.plan.run, len(entries), what)] if what else []


def _is_true(end: RunFailed, answers: Sequence[Answer]) -> bool:
    """Whether the last answer, or for the token limit the one before it, is the reason of the end."""
    at = answers[-1]
    if len(answers) > 1 and answers[-2].fatal == "token limit":
        at = answers[-2]
    if at.fatal:
        return end.error_type == FATAL[at.fatal] and (at.fatal in _WORDLESS or at.words in end.message)
    return not at.is_certain and end.error_type == "ModelResponseError"
