"""Reads a request to the fake provider: the task, the turn, and everything that is wrong. Pure.

A strict provider refuses a flawed history for ever, so a flaw spoils the session. The history must hold exactly the
earlier messages: every answer, with the fields that the provider must get back, and every result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from chaos.answers import Answer, Said, Task, answer_of, differs, joined, result_text, tasks_in
from testkit.provider.strict import flaws

__all__ = ["Asked", "read_request"]

_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_FILLED: Final = "[no reply]"
"""The text in place of the answer to a prompt whose run failed."""


class Asked(NamedTuple):
    """The answer that a request asks for, number `turn` of `task`; or what is wrong with it."""

    task: Task | None
    turn: int
    flaws: list[str]


def read_request(request: Mapping[str, Any]) -> Asked:
    """Read the whole history of a request."""
    history = _History()
    history.flaws += flaws(request)
    if not history.flaws:
        for message in request["messages"]:
            history.take(message)
        if history.task is None:
            history.flaws.append("there is no task")
    return Asked(history.task, history.turn, history.flaws)


class _History:
    """The messages so far: which task they are at, and the results that must follow."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.turn = 0
        self.flaws: list[str] = []
        self._results: list[str | None] = []

    def take(self, message: Mapping[str, Any]) -> None:
        """Process the next message."""
        role, text = message["role"], _text(message.get("content"))
        if role == "user":
            tasks = tasks_in(text)
            if not tasks:
                self.flaws.append(f"a user's message without a task: {text!r}")
            elif joined(tasks[-1].prompt) not in text:
                self.flaws.append(f"a changed prompt: {text!r}")
            self.task, self.turn = (tasks or [self.task])[-1], 0
        elif role == "tool":
            self._take_result(text)
        elif text != _FILLED or message.get("tool_calls"):
            self._take_answer(message)

    def _take_result(self, text: str) -> None:
        wanted = self._results.pop(0) if self._results else ""
        if text != wanted and not (wanted is None and "was not run" in text):
            self.flaws.append(f"the result of a call is {text!r}, not {wanted!r}")

    def _take_answer(self, message: Mapping[str, Any]) -> None:
        if self.task is None:
            self.flaws.append("an answer before the first task")
            return
        answer = answer_of(self.task, self.turn)
        said = _said(message, answer)
        if what := differs(said, answer) or _lacks(message, answer):
            self.flaws.append(f"answer {self.turn} of task {self.task.name}: {what}")
        self._results = [None if given is None else joined(result_text(name, given)) for name, given in said.calls]
        self.turn += 1


def _said(message: Mapping[str, Any], answer: Answer) -> Said:
    """The answer in a message. Blank text is not sent, and reasoning only with calls."""
    text, reasoning = _text(message.get("content")), answer.reasoning
    calls: list[tuple[str, Any]] = []
    for call in message.get("tool_calls") or ():
        given = json.loads(call["function"]["arguments"])
        calls.append((call["function"]["name"], given or None))  # every input that was sent holds something
    if calls:
        named = [str(message[name]) for name in _REASONING if name in message]
        reasoning = "".join([*named, *_thoughts(message.get("content"))])
    return Said(text, reasoning, calls)


def _lacks(message: Mapping[str, Any], answer: Answer) -> str:
    """The fields of its calls that the provider did not get back."""
    sent = message.get("tool_calls") or ()
    details = "".join(detail["text"] for detail in message.get("reasoning_details", ()))
    if sent and not answer.is_body and details != (answer.reasoning if answer.habits.reasoning == "details" else ""):
        return f"the details of the reasoning are {details!r}, not {answer.reasoning!r}"
    if not answer.is_certain:
        return ""
    got = [call.get("extra_content", {}).get("google", {}).get("thought_signature") for call in sent]
    wanted = [call.signature for call in answer.calls]
    return "" if got == wanted else f"the signatures are {got}, not {wanted}"


def _parts(content: Any) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", content) if isinstance(content, list) else []


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _parts(content) if part["type"] == "text")


def _thoughts(content: Any) -> list[str]:
    found = [part["thinking"] for part in _parts(content) if part["type"] == "thinking"]
    return [one["text"] for several in found for one in several]
