"""The plan of a run, and the exact text that its model must stream. Pure.

The prompt contains the plan, so any worker's model can continue from the history alone. Every word of a message is a
hash over the run, the call, the position and the word before; the first word is a hash over the model's whole input. So
the checker notices a word that is lost, repeated, swapped or from another run, and a model whose input differs
from the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME

__all__ = [
    "FAIL",
    "RETRY",
    "TOLD",
    "Plan",
    "PlannedMessage",
    "digest",
    "human_response",
    "plan_in",
    "planned_message",
    "prompt",
    "tool_text",
]

_MARK: Final = "chaos "
RETRY: Final = "retry"
FAIL: Final = "fail"
TOLD: Final = "told by a human"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        scenario: The name of its scenario.
        words: The number of words of each message.
        pause_ms: The pause between two words.
        batches: The tools that the first messages call, one batch each; the message after them is the last.
        tool_ms: How long each body runs.
        fails: Whether the model raises an error in the middle of its last message.
        session: The session it belongs to.
        deadline_s: The time from its submission until it must have ended.
    """

    run: str
    scenario: str
    agent: str
    words: int
    pause_ms: float
    batches: tuple[tuple[str, ...], ...] = ()
    tool_ms: int = 0
    fails: bool = False
    session: str | None = None
    deadline_s: float | None = None


class PlannedMessage(NamedTuple):
    """One message of the model."""

    words: list[str]
    calls: list[ToolUse]
    breaks: bool
    """The model raises an error after the words, which are then the first half."""

    @property
    def content(self) -> list[dict[str, Any]]:
        """The message's content blocks."""
        return [{"text": "".join(self.words)}, *({"toolUse": dict(call)} for call in self.calls)]


def digest(*parts: object) -> str:
    """Eight hex digits over the parts."""
    return blake2b("|".join(map(str, parts)).encode(), digest_size=4).hexdigest()


def prompt(plan: Plan) -> str:
    """The text to submit."""
    return _MARK + json.dumps(asdict(plan))


def plan_in(messages: Sequence[Message]) -> tuple[Plan, int]:
    """The newest plan in a history, and how many messages of the model come after it.

    Raises:
        ValueError: If there is none.
    """
    count = 0
    for message in reversed(messages):
        if message.get("role") == "assistant":
            count += 1
        for block in message.get("content", []):
            if str(block.get("text", "")).startswith(_MARK) and message.get("role") == "user":
                fields: dict[str, Any] = json.loads(block["text"].removeprefix(_MARK))
                fields["batches"] = tuple(map(tuple, fields["batches"]))
                return Plan(**fields), count
    raise ValueError("the history has no plan: the prompt is lost")


def planned_message(plan: Plan, call: int, told: Sequence[Message]) -> PlannedMessage:
    """The whole message number `call` (1, 2, …) for the input `told`."""
    last = call > len(plan.batches)
    breaks = plan.fails and last
    words: list[str] = []
    link = _digest_of(told)
    for place in range(plan.words // 2 if breaks else plan.words):
        link = digest(plan.run, call, place, link)
        words.append(
            f" {link}"
        )  # the space comes first: providers do not continue after a text that ends in whitespace
    names = () if last else plan.batches[call - 1]
    calls = [_tool_use(plan, call, number, name, link) for number, name in enumerate(names)]
    return PlannedMessage(words, calls, breaks)


def _tool_use(plan: Plan, call: int, number: int, name: str, link: str) -> ToolUse:
    own = digest(plan.run, call, "tool", number, link)
    return {
        "toolUseId": f"{call}.{number}-{plan.run[-6:]}",
        "name": name,
        "input": {"link": own, "ms": plan.tool_ms},
    }


def tool_text(name: str, link: str) -> str:
    """The tool's result, without a human's response."""
    return f"{name} {digest('result', link)}"


def human_response(interrupt: Mapping[str, Any]) -> Any:
    """A human's response to an interrupt."""
    if interrupt["name"] == UNKNOWN_OUTCOME:
        return (RETRY, FAIL, {"result": TOLD})[int(digest(interrupt["id"]), 16) % 3]
    return digest("human", interrupt["reason"])


def _digest_of(messages: Sequence[Message]) -> str:
    return digest(*(part for message in messages for part in _parts(message)))


def _parts(message: Message) -> list[str]:
    return [str(message.get("role")), *(json.dumps(block, sort_keys=True) for block in message.get("content", []))]
