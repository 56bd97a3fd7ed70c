"""`AgentState`: Strands' key-value store, whose values are JSON, and the changes that the log gets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from strands.types.json_dict import JSONSerializableDict

from playhead.runtime import Agent, AgentState
from playhead.runtime.core.agent_state import MAX_STATE_BYTES

__all__: list[str] = []


@pytest.mark.parametrize("value", [1, 1.5, True, None, "text", [1, [2]], {"a": {"b": []}}, 2**80, "\ud83d"])
def test_a_value_comes_back_as_from_the_store_of_strands(value: Any) -> None:
    mine, theirs = AgentState({"key": value}), JSONSerializableDict({"key": value})
    assert mine.get("key") == theirs.get("key") == value
    assert mine.get() == theirs.get()
    assert mine.get("other") is None
    mine.delete("key")
    mine.delete("key")
    assert mine.get() == {}


def test_neither_the_caller_nor_the_reader_shares_a_value_with_the_store() -> None:
    given = {"list": [1]}
    store = AgentState(given)
    given["list"].append(2)
    store.get("list").append(3)
    store.get()["list"].append(4)
    assert store.get() == {"list": [1]}


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), b"bytes", [{"deep": {1}}], float], ids=lambda value: type(value).__name__
)
def test_a_value_that_is_not_json_is_refused_with_its_key(value: Any) -> None:
    store = AgentState({"cart": 1})
    with pytest.raises(ValueError, match=r"agent\.state\['cart'\] cannot be \w+: it is not JSON serializable"):
        store.set("cart", value)
    with pytest.raises(ValueError, match=r"agent\.state\['cart'\]"):
        Agent(state={"cart": value})
    assert store.get() == {"cart": 1}


@pytest.mark.parametrize("key", ["", "  ", 1, None])
def test_a_key_must_be_a_text(key: Any) -> None:
    for call in (lambda: AgentState().set(key, 1), lambda: AgentState().delete(key)):
        with pytest.raises(ValueError, match=r"a key of agent\.state must be a text that is not blank"):
            call()


def test_it_does_not_grow_over_its_limit() -> None:
    store = AgentState({"half": "x" * (MAX_STATE_BYTES // 2)})
    with pytest.raises(ValueError, match=f"with 'more', and may have {MAX_STATE_BYTES}"):
        store.set("more", "x" * (MAX_STATE_BYTES // 2))
    store.set("half", "y" * (MAX_STATE_BYTES - 100))
    assert list(store.get()) == ["half"]


def test_the_changes_for_the_log_are_the_last_of_each_key() -> None:
    store = AgentState({"a": 1, "b": 2})
    assert not store.is_changed
    store.set("a", 3)
    store.set("a", 4)
    store.delete("b")
    store.delete("c")
    assert store.is_changed
    assert store.take_changes() == {"values": {"a": 4}, "deleted": ["b", "c"]}
    assert store.take_changes() is None


def test_a_call_has_its_own_changes_and_none_after_its_end() -> None:
    store = AgentState({"a": 1})
    first, second = store.of_call(), store.of_call()
    first.set("a", 2)
    second.set("b", first.get("a"))
    second.delete("gone")
    assert (store.get(), store.take_changes()) == ({"a": 2, "b": 2}, None)
    assert second.end() == {"values": {"b": 2}, "deleted": ["gone"]}
    assert first.end() == {"values": {"a": 2}, "deleted": []}
    for late in (lambda: first.set("a", 5), lambda: first.delete("a")):
        with pytest.raises(RuntimeError, match="this call has ended"):
            late()
    assert store.get("a") == 2


def test_copies_are_stores_of_their_own() -> None:
    store = AgentState({"a": [1]})
    for other in (copy.copy(store), copy.deepcopy(store)):
        other.set("a", 2)
        assert store.get() == {"a": [1]}


def test_an_agent_takes_a_dict_or_a_store() -> None:
    store = AgentState({"a": 1})
    assert Agent(state=store).state is store
    assert Agent(state={"a": 1}).state.get() == {"a": 1}
    assert Agent().state.get() == {}
    wrong: Any = [1]
    with pytest.raises(TypeError, match="state must be a dict, an AgentState or None, not list"):
        Agent(state=wrong)
