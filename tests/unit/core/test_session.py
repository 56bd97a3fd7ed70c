"""Where a conversation can be cut and copied, and which of its messages a run began from."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.context import Reduction, in_context, marker
from playhead.runtime.core.converse import Message
from playhead.runtime.core.history_repair import in_order
from playhead.runtime.core.session import (
    BeganFrom,
    StoredMessages,
    check_fork_place,
    first_kept,
    fork_of,
    said_in,
)

__all__: list[str] = []


def said(text: str, role: Literal["user", "assistant"] = "user") -> Message:
    return {"role": role, "content": [{"text": text}]}


def calls(name: str) -> Message:
    return {"role": "assistant", "content": [{"toolUse": {"toolUseId": name, "name": "look", "input": {}}}]}


def results(name: str) -> Message:
    result = {"toolUseId": name, "status": "success", "content": [{"text": "seen"}]}
    return {"role": "user", "content": [{"toolResult": result}]}


TURNS: list[Message] = [
    said("one"),
    calls("a"),
    results("a"),
    said("done", "assistant"),
    said("two"),
    calls("b"),
    results("b"),
    calls("c"),
    results("c"),
    said("done too", "assistant"),
]


@pytest.mark.parametrize(("keep_last", "first"), [(1, 4), (5, 4), (6, 4), (7, 0), (10, 0), (11, 0), (1000, 0)], ids=str)
def test_whole_turns_are_kept_and_at_least_as_many_messages_as_wanted(keep_last: int, first: int):
    assert first_kept(TURNS, keep_last) == first


def test_a_message_that_steered_a_run_begins_a_turn_and_an_unanswered_one_does_too():
    steered = [said("one"), calls("a"), results("a"), said("left"), said("done", "assistant")]
    assert first_kept(steered, 2) == 3
    assert first_kept([said("one"), said("two")], 1) == 1


def test_a_conversation_without_a_second_turn_is_not_cut():
    assert first_kept([], 1) == 0
    assert first_kept([said("hi", "assistant"), said("ho", "assistant")], 1) == 0


messages = st.lists(st.sampled_from([said("q"), said("a", "assistant"), calls("x"), results("x")]), max_size=12)


@given(messages, st.integers(1, 12))
def test_what_is_kept_is_a_history_whose_first_message_no_provider_refuses(history: list[Message], keep_last: int):
    first = first_kept(history, keep_last)
    kept = history[first:]
    assert len(kept) >= min(keep_last, len(history))
    if first:
        assert in_order(kept)[0].get("content", [])[0] == {"text": "q"}, (
            "nothing is put before it, and it is not changed"
        )


@pytest.mark.parametrize("at", [1, 3, 4, 5, 7, 9, 10])
def test_a_conversation_is_copied_up_to_a_place_between_messages_that_do_not_belong_together(at: int):
    check_fork_place(TURNS, at)


def test_a_place_between_calls_and_their_results_is_refused_with_the_places_that_are_possible():
    with pytest.raises(ValueError, match=r"message 2 calls tools, and message 3 has their results: fork at 1 or 3"):
        check_fork_place(TURNS, 2)
    check_fork_place([said("one"), calls("a")], 2)  # a run that was cancelled: the next one closes the call


@pytest.mark.parametrize("at", [0, -1, 11])
def test_a_place_that_is_not_in_the_conversation_is_refused_with_its_length(at: int):
    with pytest.raises(ValueError, match=rf"from 1 to 10, the number of messages of the session, not {at}"):
        check_fork_place(TURNS, at)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_a_run_gets_the_messages_that_it_began_from_and_never_others(total: int, cut: int, began_cut: int, count: int):
    every = [said(str(number)) for number in range(1, total + 1)]
    stored = StoredMessages(cut, every[cut:])
    wanted = every[began_cut : began_cut + count]
    assert stored.part(BeganFrom(began_cut, count)) == [message for message in wanted if message in every[cut:]]


REDUCED: list[Message] = [
    said("one"),
    said("1", "assistant"),
    said("two"),
    marker(Reduction(removed=((-3, -2),))),
    said("2", "assistant"),
    marker(Reduction(pinned=((-1, -1),))),
    said("three"),
    said("3", "assistant"),
]


def test_markers_of_reductions_are_neither_shown_nor_counted_nor_where_a_turn_begins():
    assert [message.get("content", [])[0].get("text") for message in said_in(REDUCED)] == [
        "one",
        "1",
        "two",
        "2",
        "three",
        "3",
    ]
    assert [first_kept(REDUCED, keep_last) for keep_last in range(1, 7)] == [6, 6, 2, 2, 0, 0]
    assert fork_of(REDUCED, 3) == REDUCED[:4]
    assert fork_of(REDUCED, 4) == REDUCED[:6]
    assert fork_of(REDUCED, 6) == fork_of(REDUCED, None) == REDUCED
    with pytest.raises(ValueError, match="from 1 to 6, the number of messages of the session, not 7"):
        fork_of(REDUCED, 7)


def test_to_cut_what_a_reduction_left_out_does_not_change_what_a_model_is_sent():
    summary = said("They said hello.")
    reduction = marker(Reduction(removed=((-3, -2),), summary=summary, kept=1))
    later = [said("2", "assistant"), said("three"), said("3", "assistant")]
    stored = [said("one"), said("1", "assistant"), said("two"), reduction, *later]
    kept = stored[first_kept(stored, 3) :]
    assert kept == stored[2:]
    assert in_context(kept) == in_context(stored) == [summary, said("two"), *later]
