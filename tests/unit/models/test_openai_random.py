"""An answer that a server distorts by any mix of known habits comes out whole or as an error, never silently changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.errors import ModelResponseError
from tests.unit.models.openai_streams import DONE, Answer, delta, event, read

__all__: list[str] = []

TOOLS = ("look", "add", "look_up")
PIECE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUE = st.integers() | st.text(max_size=6) | st.none() | st.lists(st.integers(), max_size=2)
INPUT = st.dictionaries(
    st.text(min_size=1, max_size=3), VALUE | st.dictionaries(PIECE, VALUE, max_size=2), min_size=1, max_size=2
)
CALL = st.tuples(st.sampled_from(TOOLS), INPUT)
CALLS = st.lists(CALL, max_size=3, unique_by=lambda each: json.dumps(each, sort_keys=True))
NOTHING = st.sampled_from(
    [
        b"retry: 1\n\n",
        b"id: 1\n\n",
        b": ping\n\n",
        b"data:\n\n",
        b"event: ping\n\n",
        b"data: {}\n\n",
        b'data: {"choices": null}\n\n',
        b'data: {"choices": [], "usage": null}\n\n',
    ]
)
BROKEN = st.sampled_from(
    [
        {"error": {"message": "it broke"}},
        {"error": "it broke"},
        {"detail": "it broke"},
        event(finish="network_error"),
        b"event: error\ndata: it broke\n\n",
        b"data: it broke\n\n",
        b"Internal error\n\n",
    ]
)


@dataclass(frozen=True)
class Habits:
    """How a server streams."""

    text: str
    reasoning: str
    index: str
    ids: str
    names: str
    arguments: str
    finish: str
    whole: str
    line_end: bytes
    size: int

    @property
    def is_known(self) -> bool:
        """Whether one meaning is right.

        A name in each delta needs something else that tells where a call begins, and the whole text after pieces of
        `message` is another piece, unless its event says that it is whole.
        """
        if self.text == "message" and self.whole not in ("none", "last, named"):
            return False
        if self.names != "in each delta":
            return True
        if self.ids == "fresh":
            return self.arguments == "pieces" and self.index != "none"
        return self.arguments not in ("twice", "empty last") or self.ids not in ("none", "empty")  # or it is a new call


HABITS = st.builds(
    Habits,
    text=st.sampled_from(["str", "part", "parts", "message"]),
    reasoning=st.sampled_from(["reasoning_content", "reasoning", "thinking", "parts", "both"]),
    index=st.sampled_from(["right", "right", "0", "none", "text"]),
    ids=st.sampled_from(["right", "right", "in each delta", "none", "empty", "same", "fresh"]),
    names=st.sampled_from(["first", "in each delta", "fragments", "so far"]),
    arguments=st.sampled_from(["pieces", "object", "twice", "empty first", "empty last", "quoted"]),
    finish=st.sampled_from(["tool_calls", "stop", "early", "none", "unknown"]),
    whole=st.sampled_from(["none", "none", "last", "last, named", "with the finish reason", "so far"]),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.sampled_from([1, 3, 50, 1 << 20]),
).filter(lambda habits: habits.is_known)


def pieces_of(text: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def said(habits: Habits, text: str) -> dict[str, Any]:
    part = {"type": "text", "text": text}
    if habits.text == "message":
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return delta(content={"str": text, "part": part, "parts": [part, {"type": "text", "text": ""}]}[habits.text])


def thought(habits: Habits, text: str) -> dict[str, Any]:
    if habits.reasoning == "parts":
        return delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])
    names = ["reasoning", "reasoning_content"] if habits.reasoning == "both" else [habits.reasoning]
    return delta(content=None, **dict.fromkeys(names, text))


def arguments_of(habits: Habits, value: dict[str, Any], data: st.DataObject) -> list[Any]:
    text = json.dumps(value)
    match habits.arguments:
        case "object":
            return [value]
        case "twice":
            return [*pieces_of(text, data), text]
        case "empty first":
            return ["{}", *pieces_of(text, data)]
        case "empty last":
            return [*pieces_of(text, data), "{}"]
        case "quoted":
            return [json.dumps(text)]
        case _:
            return pieces_of(text, data)


def called(habits: Habits, number: int, name: str, arguments: list[Any]) -> Iterator[dict[str, Any]]:
    """The deltas of one call."""
    names = {"fragments": [name[:2], name[2:]], "so far": [name[:2], name]}.get(habits.names, [name])
    steps: list[tuple[str, Any]] = [(each, "") for each in names] if len(names) > 1 else [(name, arguments[0])]
    repeated = name if habits.names == "in each delta" else ""
    steps += [(repeated, each) for each in (arguments if len(names) > 1 else arguments[1:])]
    for step, (part, piece) in enumerate(steps):
        one: dict[str, Any] = {"function": {"name": part or None, "arguments": piece}}
        if habits.index != "none":
            one["index"] = {"right": number, "0": 0, "text": str(number)}[habits.index]
        if habits.ids in ("same", "empty"):
            one["id"] = "same" if habits.ids == "same" else ""
        elif habits.ids == "fresh":
            one["id"] = f"c{number}.{step}"
        elif habits.ids == "in each delta" or (habits.ids == "right" and step == 0):
            one["id"] = f"c{number}"
        yield delta(tool_calls=[one])


def finished(habits: Habits) -> dict[str, Any]:
    finish = {"early": "stop", "unknown": "whatever", "none": None}.get(habits.finish, habits.finish)
    return event(finish=finish)


def whole(habits: Habits, thoughts: list[str], texts: list[str], calls: list[Any]) -> dict[str, Any]:
    """The message of which a server has said so much."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning" if habits.reasoning in ("reasoning", "thinking") else "reasoning_content"] = "".join(
            thoughts
        )
    if calls:
        functions = [{"name": name, "arguments": json.dumps(value)} for name, value in calls]
        message["tool_calls"] = [{"type": "function", "function": function} for function in functions]
    return message


def repeated(habits: Habits, events: list[Any], thoughts: list[str], texts: list[str], calls: list[Any]) -> None:
    """Add `message` to the events, and the event of the finish reason, as the server does."""
    last = finished(habits)
    if habits.whole == "so far":
        for number, each in enumerate(events[: len(thoughts) + len(texts)], 1):
            said = whole(habits, thoughts[:number], texts[: max(0, number - len(thoughts))], [])
            each["choices"][0]["message"] = said
    everything = whole(habits, thoughts, texts, calls)
    if habits.whole.startswith("last"):
        kind = "chat.completion" if habits.whole == "last, named" else "chat.completion.chunk"
        events.append({"object": kind, "choices": [{"delta": {"content": ""}, "message": everything}]})
    elif habits.whole in ("with the finish reason", "so far"):
        last["choices"][0]["message"] = everything
    events.append(last)


def streamed(habits: Habits, thoughts: list[str], texts: list[str], calls: list[Any], data: st.DataObject) -> list[Any]:
    events = [thought(habits, piece) for piece in thoughts] + [said(habits, piece) for piece in texts]
    for number, (name, value) in enumerate(calls):
        events += called(habits, number, name, arguments_of(habits, value, data))
    repeated(habits, events, thoughts, texts, calls)
    if habits.finish == "early":
        for each in events:
            each["choices"][0]["finish_reason"] = "stop"
    items: list[Any] = [*events, DONE]
    for _ in range(data.draw(st.integers(0, 2))):
        items.insert(data.draw(st.integers(0, len(items) - 1)), data.draw(NOTHING))
    return items


def sent(habits: Habits, items: list[Any]) -> Answer:
    framed = [item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n" for item in items]
    return read(b"".join(framed).replace(b"\n", habits.line_end), tools=TOOLS, size=habits.size)


@settings(deadline=None, max_examples=200)
@given(HABITS, st.lists(PIECE, max_size=3), st.lists(PIECE, max_size=3), CALLS, st.data())
def test_a_distorted_answer_comes_out_whole_or_as_an_error(
    habits: Habits, thoughts: list[str], texts: list[str], calls: list[tuple[str, Any]], data: st.DataObject
) -> None:
    items = streamed(habits, thoughts, texts, calls, data)
    try:
        answer = sent(habits, items)
    except ModelResponseError:
        assert habits.finish == "none" or calls, "text alone was refused"
        return
    assert (answer.reasoning, answer.text) == ("".join(thoughts), "".join(texts))
    readable = [each for each in answer.calls if not isinstance(each[1], str)]
    for each in readable:
        assert each in calls, "a tool would run with input that was not sent"
    if len(readable) == len(answer.calls):
        assert answer.calls == calls, "a call was lost without a word"
    assert len(set(answer.ids)) == len(answer.ids)
    assert (answer.stop_reason == "tool_use") is bool(calls)


PLAIN = HABITS.filter(lambda habits: habits.index in ("right", "text") and habits.ids != "fresh")


@settings(deadline=None, max_examples=100)
@given(PLAIN, st.lists(PIECE, min_size=1, max_size=3), CALLS, st.data())
def test_where_the_index_is_right_every_call_is_whole(
    habits: Habits, texts: list[str], calls: list[tuple[str, Any]], data: st.DataObject
) -> None:
    answer = sent(habits, streamed(habits, [], texts, calls, data))
    assert (answer.text, answer.calls) == ("".join(texts), calls)


@settings(deadline=None, max_examples=100)
@given(HABITS, st.lists(PIECE, max_size=3), CALLS, BROKEN, st.data())
def test_an_answer_that_broke_off_is_always_an_error(
    habits: Habits, texts: list[str], calls: list[tuple[str, Any]], broken: Any, data: st.DataObject
) -> None:
    items = streamed(habits, [], texts, calls, data)
    items.insert(data.draw(st.integers(0, len(items) - 1)), broken)
    with pytest.raises(ModelResponseError):
        sent(habits, items)
