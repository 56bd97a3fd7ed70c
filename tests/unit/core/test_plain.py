"""Any value becomes plain data; plain data stays what it is."""

from __future__ import annotations

import datetime
import enum
import math
import types
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer

from playhead.runtime.core.plain import MAX_DEPTH, NotPlainError, plain, plain_strict, plain_text

__all__: list[str] = []

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Inner(BaseModel):
    when: datetime.date
    data: bytes = b"\xff"


class Outer(BaseModel):
    inner: Inner
    names: set[str] = {"a"}


class Stubborn(BaseModel):
    x: int = 1

    @field_serializer("x")
    def refuse(self, value: int) -> int:
        raise RuntimeError("no")


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@dataclass
class Point:
    x: int


@given(PLAIN)
def test_plain_data_is_copied_unchanged(value: Any):
    assert plain(value) == value
    assert plain_strict(value) == value


@given(st.text(st.characters(categories=("Lu", "Cs", "So"))))
def test_text_always_has_a_utf8_form(text: str):
    assert plain_text(text).encode().decode() == plain_text(text)
    assert plain_text(plain_text(text)) == plain_text(text)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced():
    assert plain({"\ud83d\ude00": "a\ud800b"}) == {"😀": "a\ufffdb"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (frozenset({1}), [1]),
        ({"a": 1}.keys(), ["a"]),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        (bytearray(b"ab"), b"ab"),
        (2**80, 2**80),
        (datetime.date(2030, 1, 2), "2030-01-02"),
        (Point(1), "Point(x=1)"),
        (
            Outer(inner=Inner(when=datetime.date(2030, 1, 2))),
            {"inner": {"when": "2030-01-02", "data": b"\xff"}, "names": ["a"]},
        ),
        (Mute(), "<Mute that has no text form>"),
        ({Mute(): 1}, {"<Mute that has no text form>": 1}),
    ],
)
def test_other_values_become_plain_data(value: Any, expected: Any):
    assert plain(value) == expected


def test_a_model_that_cannot_be_dumped_becomes_its_text():
    assert plain(Stubborn()) == "x=1"


def test_subclasses_of_plain_types_become_the_plain_type():
    for value, kind in ((Colour.RED, str), (Level.HIGH, int), (True, bool)):
        assert type(plain(value)) is kind
        assert plain(value) == value
    assert math.isnan(plain(math.nan))


def test_the_copy_shares_nothing_mutable():
    inner = [1]
    value = {"a": inner, "b": inner}
    copy = plain(value)
    inner.append(2)
    assert copy == {"a": [1], "b": [1]}


def test_a_value_that_contains_itself_is_named_there():
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = [loop]
    assert plain(loop) == {"a": 1, "self": ["<dict that contains itself>"]}


def test_values_nested_deeper_than_the_limit_are_cut_there():
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    copy = plain(deep)
    for _ in range(MAX_DEPTH):
        (copy,) = copy
    assert copy == f"<list nested deeper than {MAX_DEPTH} levels>"
    just_fits: Any = "end"
    for _ in range(MAX_DEPTH):
        just_fits = [just_fits]
    assert plain(just_fits) == plain_strict(just_fits) == just_fits
    with pytest.raises(NotPlainError, match="nested deeper"):
        plain_strict([just_fits])


def test_what_plain_gives_can_be_packed():
    copy = plain({1: {Mute(), 2.5}, "x": [Outer(inner=Inner(when=datetime.date.min)), object(), "\udc80", b"\x00"]})
    assert msgpack.unpackb(msgpack.packb(copy)) == copy


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "the value is object"),
        ({"a": [1, {"b": {2}}]}, "['a'][1]['b'] is set"),
        ([Outer], "[0] is ModelMetaclass"),
        ({"a": {(1, 2): 3}}, "['a'] is a dict with a key of type tuple"),
        ([datetime.date.min], "[0] is date"),
    ],
)
def test_strictly_other_values_are_refused_with_their_place(value: Any, message: str):
    with pytest.raises(NotPlainError) as refused:
        plain_strict(value)
    assert str(refused.value) == message


def test_strictly_json_like_liberties_are_taken():
    assert plain_strict({1: (True, None)}) == {"1": [True, None]}
