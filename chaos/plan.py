"""What a run is asked to do, and what its model must then say to the letter. Pure.

The prompt holds the plan, so any worker's model can go on from the history alone. Every word of an answer is a hash over
the run, the call, the place and the word before; the first one over all that the model was told. So a word that is lost,
repeated, swapped or another run's is seen, and so is a model that was told anything else than the log says.
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
    "Answer",
    "Plan",
    "answer",
    "digest",
    "human_answer",
    "plan_in",
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
        scenario: The name of what this is an example of.
        words: Of each answer.
        pause_ms: Between two words.
        batches: The tools that the first answers call, a batch each; the answer after them is the last.
        tool_ms: How long each body takes.
        fails: The model breaks down in the middle of its last answer.
        session: The conversation it belongs to.
        deadline_s: By which it must have ended, from its submit on.
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


class Answer(NamedTuple):
    """One answer of the model."""

    words: list[str]
    calls: list[ToolUse]
    breaks: bool
    """It breaks down behind the words, which are then the first half."""

    @property
    def content(self) -> list[dict[str, Any]]:
        """The content of its message."""
        return [{"text": "".join(self.words)}, *({"toolUse": dict(call)} for call in self.calls)]


def digest(*parts: object) -> str:
    """Eight hex digits over the parts."""
    return blake2b("|".join(map(str, parts)).encode(), digest_size=4).hexdigest()


def prompt(plan: Plan) -> str:
    """The text to submit."""
    return _MARK + json.dumps(asdict(plan))


def plan_in(messages: Sequence[Message]) -> tuple[Plan, int]:
    """The newest plan in a history, and how many answers of the model stand behind it.

    Raises:
        ValueError: There is none.
    """
    answers = 0
    for message in reversed(messages):
        if message.get("role") == "assistant":
            answers += 1
        for block in message.get("content", []):
            if str(block.get("text", "")).startswith(_MARK) and message.get("role") == "user":
                fields: dict[str, Any] = json.loads(block["text"].removeprefix(_MARK))
                fields["batches"] = tuple(map(tuple, fields["batches"]))
                return Plan(**fields), answers
    raise ValueError("the history holds no plan: the prompt is lost")


def answer(plan: Plan, call: int, told: Sequence[Message]) -> Answer:
    """The whole of answer number `call` (1, 2, …), given all that the model is told before it."""
    last = call > len(plan.batches)
    breaks = plan.fails and last
    words: list[str] = []
    link = _digest_of(told)
    for place in range(plan.words // 2 if breaks else plan.words):
        link = digest(plan.run, call, place, link)
        words.append(f" {link}")  # in front: providers go on behind no text that ends in a gap
    names = () if last else plan.batches[call - 1]
    calls = [_tool_use(plan, call, number, name, link) for number, name in enumerate(names)]
    return Answer(words, calls, breaks)


def _tool_use(plan: Plan, call: int, number: int, name: str, link: str) -> ToolUse:
    own = digest(plan.run, call, "tool", number, link)
    return {
        "toolUseId": f"{call}.{number}-{plan.run[-6:]}",
        "name": name,
        "input": {"link": own, "ms": plan.tool_ms},
    }


def tool_text(name: str, link: str) -> str:
    """What the tool gives back, of itself."""
    return f"{name} {digest('result', link)}"


def human_answer(interrupt: Mapping[str, Any]) -> Any:
    """What a human answers to a question."""
    if interrupt["name"] == UNKNOWN_OUTCOME:
        return (RETRY, FAIL, {"result": TOLD})[int(digest(interrupt["id"]), 16) % 3]
    return digest("human", interrupt["reason"])


def _digest_of(messages: Sequence[Message]) -> str:
    return digest(*(part for message in messages for part in _parts(message)))


def _parts(message: Message) -> list[str]:
    return [str(message.get("role")), *(json.dumps(block, sort_keys=True) for block in message.get("content", []))]
