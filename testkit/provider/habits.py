"""The known habits with which servers of OpenAI's API distort streamed messages, and the resulting events. Pure.

docs/providers.md describes the habits. An event is the JSON of a server-sent event, or bytes that are sent as they are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final, NamedTuple

__all__ = [
    "BROKEN",
    "DONE",
    "NOTHING",
    "OPTIONS",
    "PLAIN",
    "CallSaid",
    "Cut",
    "Habits",
    "any_habits",
    "arguments_of",
    "delta",
    "ending",
    "event",
    "framed",
    "message_of",
    "spoken",
]

DONE: Final = b"data: [DONE]\n\n"

Cut = Callable[[str], list[str]]
"""Cuts a text into pieces, one per delta."""


def event(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """An event of a stream with one choice."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def delta(finish: Any = None, **fields: Any) -> dict[str, Any]:
    """An event whose delta has these fields."""
    return event(fields, finish)


NOTHING: Final[Sequence[bytes]] = (
    b"retry: 1\n\n",
    b"id: 1\n\n",
    b": ping\n\n",
    b"data:\n\n",
    b"event: ping\n\n",
    b"data: {}\n\n",
    b'data: {"choices": null}\n\n',
    b'data: {"choices": [], "usage": null}\n\n',
)
"""Events that say nothing."""

BROKEN: Final[Sequence[Any]] = (
    {"error": {"message": "it broke"}},
    {"error": "it broke"},
    {"detail": "it broke"},
    event(finish="network_error"),
    b"event: error\ndata: it broke\n\n",
    b"data: it broke\n\n",
    b"Internal error\n\n",
)
"""Events that say that the message broke off, each in a different form."""


@dataclass(frozen=True)
class Habits:
    """How a server streams.

    Attributes:
        text: The form of `content`.
        reasoning: The field that has the reasoning.
        index, ids, names, arguments: What the deltas of a call have in these fields.
        shape: Where name and arguments are: under `function`, under `custom`, or in the call itself.
        order: Whether the calls come one after the other, or their deltas in turn.
        finish: How the server says that the message is complete.
        whole: Where it repeats, as `message`, the content that it has sent.
        line_end: What ends a line.
        size: How many bytes arrive at once.
    """

    text: str = "str"
    reasoning: str = "reasoning_content"
    index: str = "right"
    ids: str = "right"
    names: str = "first"
    arguments: str = "pieces"
    shape: str = "function"
    order: str = "one by one"
    finish: str = "tool_calls"
    whole: str = "none"
    line_end: bytes = b"\n"
    size: int = 1 << 20

    @property
    def is_known(self) -> bool:
        """Whether the stream has only one meaning: a name in each delta needs something else that shows where a call begins.

        Calls in turn need an index. The whole text after pieces of `message` is another piece, unless its event says that
        it is whole.
        """
        if self.text == "message" and self.whole not in ("none", "last, named"):
            return False
        if self.order == "in turn" and not self.is_certain:
            return False
        if self.names != "in each delta":
            return True
        if self.ids == "fresh":
            return self.arguments == "pieces" and self.index != "none"
        return self.arguments not in ("twice", "empty last") or self.ids not in ("none", "empty")  # or it is a new call

    @property
    def is_certain(self) -> bool:
        """Whether index and id show the call that each delta belongs to, so that every call can arrive whole."""
        return self.index in ("right", "text") and self.ids != "fresh"


PLAIN: Final = Habits()
"""The habits of OpenAI."""

OPTIONS: Final[Mapping[str, Sequence[Any]]] = {
    "text": ["str", "part", "parts", "message"],
    "reasoning": ["reasoning_content", "reasoning", "thinking", "parts", "both", "details"],
    "index": ["right", "right", "0", "none", "text"],
    "ids": ["right", "right", "in each delta", "none", "empty", "same", "fresh"],
    "names": ["first", "in each delta", "fragments", "so far"],
    "arguments": ["pieces", "object", "twice", "empty first", "empty last", "quoted"],
    "shape": ["function", "function", "custom", "flat"],
    "order": ["one by one", "one by one", "in turn"],
    "finish": ["tool_calls", "stop", "early", "none", "unknown"],
    "whole": ["none", "none", "last", "last, named", "with the finish reason", "so far"],
    "line_end": [b"\n", b"\r\n", b"\r"],
    "size": [1, 3, 50, 1 << 20],
}
"""The choices for each field of `Habits`; a value that is listed twice is drawn more often."""


def any_habits(dice: random.Random) -> Habits:
    """Draw random habits for which `is_known` is true."""
    while True:
        habits = replace(PLAIN, **{name: dice.choice(choices) for name, choices in OPTIONS.items()})
        if habits.is_known:
            return habits


class CallSaid(NamedTuple):
    """One tool call: the pieces of its arguments, as `arguments_of` makes them, and the server's own fields."""

    name: str
    arguments: list[Any]
    fields: Mapping[str, Any] = {}


def arguments_of(habits: Habits, value: Any, *, cut: Cut) -> list[Any]:
    """The arguments of each delta of one call."""
    text = json.dumps(value)
    match habits.arguments:
        case "object":
            return [value]
        case "twice":
            return [*cut(text), text]
        case "empty first":
            return ["{}", *cut(text)]
        case "empty last":
            return [*cut(text), "{}"]
        case "quoted":
            return [json.dumps(text)]
        case _:
            return cut(text)


def spoken(
    habits: Habits, *, thoughts: Sequence[str], texts: Sequence[str], calls: Sequence[CallSaid]
) -> list[dict[str, Any]]:
    """The events of an answer without its end."""
    events = [_thought(habits, piece) for piece in thoughts] + [_said(habits, piece) for piece in texts]
    if habits.whole == "so far":
        for number, each in enumerate(events, 1):
            said = texts[: max(0, number - len(thoughts))]
            each["choices"][0]["message"] = message_of(habits, thoughts=thoughts[:number], texts=said, calls=[])
    events += _ordered(habits, [list(_called(habits, number, call)) for number, call in enumerate(calls)])
    if habits.finish == "early":
        for each in events:
            each["choices"][0]["finish_reason"] = "stop"
    return events


def message_of(
    habits: Habits, *, thoughts: Sequence[str], texts: Sequence[str], calls: Sequence[tuple[str, Any]]
) -> dict[str, Any]:
    """The content as one message; `calls` are names and inputs."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts and habits.reasoning != "details":
        field = "reasoning" if habits.reasoning in ("reasoning", "thinking") else "reasoning_content"
        message[field] = "".join(thoughts)
    functions = [{"name": name, "arguments": json.dumps(given)} for name, given in calls]
    if functions:
        message["tool_calls"] = [{"type": "function", "function": function} for function in functions]
    return message


def ending(habits: Habits, message: Mapping[str, Any] | None = None) -> list[Any]:
    """The events that end an answer; `message` is the whole answer, for a server that repeats it."""
    finish = {"early": "stop", "unknown": "whatever", "none": None}.get(habits.finish, habits.finish)
    last: list[Any] = [] if finish is None else [event(finish=finish)]
    if message is not None and habits.whole.startswith("last"):
        kind = "chat.completion" if habits.whole == "last, named" else "chat.completion.chunk"
        last.insert(0, {"object": kind, "choices": [{"delta": {"content": ""}, "message": message}]})
    elif message is not None and habits.whole != "none":
        last = [event(finish=finish)]
        last[0]["choices"][0]["message"] = message
    return [*last, DONE]


def framed(habits: Habits, item: Any) -> bytes:
    """An event in the form in which it is sent."""
    data = item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n"
    return data.replace(b"\n", habits.line_end)


def _said(habits: Habits, text: str) -> dict[str, Any]:
    part = {"type": "text", "text": text}
    if habits.text == "message":
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return delta(content={"str": text, "part": part, "parts": [part, {"type": "text", "text": ""}]}[habits.text])


def _thought(habits: Habits, text: str) -> dict[str, Any]:
    if habits.reasoning == "parts":
        return delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])
    if habits.reasoning == "details":
        return delta(content=None, reasoning_details=[{"type": "reasoning.text", "text": text, "index": 0}])
    names = ["reasoning", "reasoning_content"] if habits.reasoning == "both" else [habits.reasoning]
    return delta(content=None, **dict.fromkeys(names, text))


def _ordered(habits: Habits, calls: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The deltas of all calls."""
    if habits.order == "one by one":
        return [each for call in calls for each in call]
    return [each for step in zip_longest(*calls) for each in step if each is not None]


def _called(habits: Habits, number: int, call: CallSaid) -> Iterator[dict[str, Any]]:
    """The deltas of one call."""
    name, arguments, fields = call
    names = {"fragments": [name[:2], name[2:]], "so far": [name[:2], name]}.get(habits.names, [name])
    steps: list[tuple[str, Any]] = [(each, "") for each in names] if len(names) > 1 else [(name, arguments[0])]
    repeated = name if habits.names == "in each delta" else ""
    steps += [(repeated, each) for each in (arguments if len(names) > 1 else arguments[1:])]
    for step, (part, piece) in enumerate(steps):
        said = {"name": part or None, "arguments": piece}
        one: dict[str, Any] = {**(said if habits.shape == "flat" else {habits.shape: said}), **({} if step else fields)}
        if habits.index != "none":
            one["index"] = {"right": number, "0": 0, "text": str(number)}[habits.index]
        if habits.ids in ("same", "empty"):
            one["id"] = "same" if habits.ids == "same" else ""
        elif habits.ids == "fresh":
            one["id"] = f"c{number}.{step}"
        elif habits.ids == "in each delta" or (habits.ids == "right" and step == 0):
            one["id"] = f"c{number}"
        yield delta(tool_calls=[one])
