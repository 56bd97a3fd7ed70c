"""An answer that a server distorts by any mix of known habits comes out whole or as an error, never silently changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.errors import ModelResponseError
from testkit.provider.habits import (
    BROKEN,
    NOTHING,
    OPTIONS,
    CallSaid,
    Habits,
    arguments_of,
    ending,
    framed,
    message_of,
    spoken,
)
from tests.unit.models.openai_streams import Answer, read

__all__: list[str] = []

TOOLS = ("look", "add", "look_up")
PIECE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VALUE = st.integers() | st.text(max_size=6) | st.none() | st.lists(st.integers(), max_size=2)
INPUT = st.dictionaries(
    st.text(min_size=1, max_size=3), VALUE | st.dictionaries(PIECE, VALUE, max_size=2), min_size=1, max_size=2
)
CALL = st.tuples(st.sampled_from(TOOLS), INPUT)
CALLS = st.lists(CALL, max_size=3, unique_by=lambda each: json.dumps(each, sort_keys=True))
HABITS = st.builds(Habits, **{name: st.sampled_from(options) for name, options in OPTIONS.items()}).filter(
    lambda habits: habits.is_known
)


def pieces_of(text: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def streamed(habits: Habits, thoughts: list[str], texts: list[str], calls: list[Any], data: st.DataObject) -> list[Any]:
    said = [
        CallSaid(name, arguments_of(habits, value, cut=lambda text: pieces_of(text, data))) for name, value in calls
    ]
    whole = message_of(habits, thoughts=thoughts, texts=texts, calls=calls)
    items: list[Any] = [*spoken(habits, thoughts=thoughts, texts=texts, calls=said), *ending(habits, whole)]
    for _ in range(data.draw(st.integers(0, 2))):
        items.insert(data.draw(st.integers(0, len(items) - 1)), data.draw(st.sampled_from(NOTHING)))
    return items


def sent(habits: Habits, items: list[Any]) -> Answer:
    return read(b"".join(framed(habits, item) for item in items), tools=TOOLS, size=habits.size)


@settings(max_examples=2 * settings().max_examples)
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


CERTAIN = HABITS.filter(lambda habits: habits.is_certain)


@given(CERTAIN, st.lists(PIECE, min_size=1, max_size=3), CALLS, st.data())
def test_where_the_index_is_right_every_call_is_whole(
    habits: Habits, texts: list[str], calls: list[tuple[str, Any]], data: st.DataObject
) -> None:
    answer = sent(habits, streamed(habits, [], texts, calls, data))
    assert (answer.text, answer.calls) == ("".join(texts), calls)


@given(HABITS, st.lists(PIECE, max_size=3), CALLS, st.sampled_from(BROKEN), st.data())
def test_an_answer_that_broke_off_is_always_an_error(
    habits: Habits, texts: list[str], calls: list[tuple[str, Any]], broken: Any, data: st.DataObject
) -> None:
    items = streamed(habits, [], texts, calls, data)
    items.insert(data.draw(st.integers(0, len(items) - 1)), broken)
    with pytest.raises(ModelResponseError):
        sent(habits, items)
