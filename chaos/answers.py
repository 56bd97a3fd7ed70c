"""The fake provider's answers: one for each task and turn, drawn from the seed. Pure.

The prompt names its task, so the provider, and the checker after it, know from a history alone which answer comes next
and which ones came before. A text, a call and an input of one answer occur in no other one.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from chaos.plan import digest
from testkit.provider.habits import PLAIN, Habits, any_habits

__all__ = [
    "FATAL",
    "TOOLS",
    "Answer",
    "Call",
    "Said",
    "Task",
    "answer_of",
    "differs",
    "joined",
    "result_text",
    "tasks_in",
]

TOOLS: Final = ("look", "add", "look_up")
"""One name is the beginning of another, because a name in fragments may look whole too early."""

FATAL: Final[Mapping[str, str]] = {
    "400": "BadRequestError",
    "401": "AuthenticationError",
    "403": "PermissionDeniedError",
    "404": "NotFoundError",
    "context overflow": "ContextWindowOverflowException",
    "quota": "RateLimitError",
    "down for good": "InternalServerError",
    "away for good": "APIConnectionError",
    "asks to wait an hour": "ModelThrottledException",
    "lasting error in the stream": "ModelResponseError",
    "an image": "ModelResponseError",
    "finish reason error for good": "ModelResponseError",
    "token limit": "MaxTokensReachedException",
}
"""The failures of the provider at some turns, each time that it is asked, and the error with which the run must fail."""

_FATAL_SHARE: Final = 0.04
_ODD: Final = (
    *("é", "🙂", '"', "\\", "\n", "\u2028", "\x00", "{", "}]", "</tool_call>", "data: [DONE]\n\n", " ", "\r\n"),
    "\ud83d",
)
"""Odd strings that models and people write between plain words; the last one is half of a character."""

_VALUES: Final = (None, 1, -0.5, True, 10**20, "", ' 🙂 "}{', "\n", [1, [2]], {"a": {"b": []}}, {"}": "{"})
_TASK: Final = re.compile(r"task ([\w-]+) of (\d+), (plain|mixed)\b")


class Task(NamedTuple):
    """The task of a run. The provider answers a plain task without faults and distortions."""

    name: str
    seed: int
    is_plain: bool = False

    @property
    def prompt(self) -> str:
        """The text to submit, including odd strings that people paste."""
        dice = random.Random(f"prompt {self.name} {self.seed}")
        return f"task {self.name} of {self.seed}, {'plain' if self.is_plain else 'mixed'} {_odd_text(dice)}"

    @property
    def rounds(self) -> int:
        """The number of answers with tool calls; the one after them is the last."""
        return random.Random(f"rounds {self.name} {self.seed}").choice([0, 1, 1, 2, 3])


def tasks_in(text: str) -> list[Task]:
    """The tasks that a text names; a user's messages may have been joined to one."""
    return [Task(name, int(seed), kind == "plain") for name, seed, kind in _TASK.findall(text)]


class Call(NamedTuple):
    """A tool call, with the fields that the provider must get back with it."""

    name: str
    input: dict[str, Any]
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One message of the provider.

    Attributes:
        thoughts, texts: Its reasoning and its text, in pieces.
        habits: How it is streamed.
        is_torn: Whether the arguments of its last call are cut off.
        is_body: Whether it is sent as a JSON body, as by a server that does not stream.
        fatal: A key of `FATAL`, or empty.
        words: The provider's words when it fails.
    """

    thoughts: tuple[str, ...]
    texts: tuple[str, ...]
    calls: tuple[Call, ...]
    habits: Habits
    is_torn: bool
    is_body: bool
    fatal: str
    words: str

    @property
    def text(self) -> str:
        """The whole text."""
        return joined("".join(self.texts))

    @property
    def reasoning(self) -> str:
        """The whole reasoning."""
        return joined("".join(self.thoughts))

    @property
    def is_certain(self) -> bool:
        """Whether every call must arrive whole; otherwise calls may be refused, but neither changed nor silently lost."""
        return self.habits.is_certain or not self.calls


def answer_of(task: Task, turn: int) -> Answer:
    """The answer number `turn` (0, 1, …) of a task."""
    mark = digest(task.seed, task.name, turn)
    dice = random.Random(f"answer {mark}")
    fatal = dice.choice(list(FATAL)) if dice.random() < _FATAL_SHARE and not task.is_plain else ""
    calls = _calls(dice, mark) if turn < task.rounds and fatal != "token limit" else ()
    is_torn = bool(calls) and dice.random() < 0.08 and not task.is_plain
    habits = PLAIN if task.is_plain or is_torn or dice.random() < 0.25 else _habits(dice)
    return Answer(
        thoughts=tuple(_pieces(dice, f"{mark}r")) if dice.random() < 0.4 else (),
        texts=() if calls and dice.random() < 0.3 else tuple(_pieces(dice, mark)),
        calls=calls,
        habits=habits,
        is_torn=is_torn,
        is_body=dice.random() < 0.08 and not is_torn,
        fatal=fatal,
        words=f"refused because of {mark}",
    )


def _habits(dice: random.Random) -> Habits:
    """Habits at random, mostly such that every call must arrive whole."""
    while not (habits := any_habits(dice)).is_certain and dice.random() < 0.7:
        pass
    return habits


def _calls(dice: random.Random, mark: str) -> tuple[Call, ...]:
    found: list[Call] = []
    for number in range(dice.randint(1, 3)):
        given = {
            "link": digest("call", mark, number),
            "ms": dice.choice([0, 5, 50, 300]),
            "value": dice.choice(_VALUES),
        }
        found.append(Call(dice.choice(TOOLS), given, digest("signature", mark, number)))
    return tuple(found)


def _pieces(dice: random.Random, mark: str) -> list[str]:
    """Words that begin with the mark, some of them odd, and occasionally a character cut into two pieces."""
    found = [mark]
    for number in range(dice.randint(0, 12)):
        found.append(f" {digest(mark, number)}")
        if dice.random() < 0.3:
            found += ["\ud83d", "\ude42"] if dice.random() < 0.3 else [dice.choice(_ODD)]
    return found


def _odd_text(dice: random.Random) -> str:
    return "".join(f"{dice.choice(_ODD)} word" for _ in range(dice.randint(0, 4)))


def joined(text: str) -> str:
    """A text in the form in which it must be stored: split characters joined, half characters replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def result_text(name: str, given: Any) -> str:
    """The value that a tool's body returns for its input."""
    mark = digest("result", name, json.dumps(given, sort_keys=True))
    return f"{mark} {_odd_text(random.Random(mark))}"


class Said(NamedTuple):
    """An answer as received: each call with its input, None for one that could not be read."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]


def differs(said: Said, answer: Answer) -> str:
    """How a received answer differs from the one that was sent; empty if it does not."""
    if said.text != answer.text:
        return f"the text is {said.text!r}, not {answer.text!r}"
    if said.reasoning != answer.reasoning:
        return f"the reasoning is {said.reasoning!r}, not {answer.reasoning!r}"
    wanted: list[tuple[str, Any]] = [(call.name, call.input) for call in answer.calls]
    if answer.is_torn:
        wanted[-1] = (wanted[-1][0], None)
    readable = [call for call in said.calls if call[1] is not None]
    may_differ = not answer.is_certain and len(readable) < len(said.calls) and all(call in wanted for call in readable)
    return "" if said.calls == wanted or may_differ else f"the calls are {said.calls}, not {wanted}"
