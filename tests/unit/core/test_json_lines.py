"""A line of JSON is one line, and one that every parser takes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.json_lines import json_line, json_ready

__all__: list[str] = []

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=20,
)


def refuse(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@settings(deadline=None)
@given(PLAIN)
def test_plain_data_is_one_line_of_strict_json(value: Any) -> None:
    line = json_line(value)
    line.encode()
    json.loads(line, parse_constant=refuse)
    assert line.splitlines() == [line]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"loss": math.nan}, '{"loss": "NaN"}'),
        ([math.inf, -math.inf, 1.5], '["Infinity", "-Infinity", 1.5]'),
        ({math.inf: 1}, '{"Infinity": 1}'),
        ("a\u2028b\u2029c\x85d", '"a\\u2028b\\u2029c\\u0085d"'),
        ("cut \ud83d off", '"cut \ufffd off"'),
        ("\ud83d\ude00", '"\U0001f600"'),
        ({"\ud83d": b"\x00", "x": math.nan}, '{"\ufffd": {"__bytes_encoded__": true, "data": "AA=="}, "x": "NaN"}'),
        ("né 日本", '"né 日本"'),
    ],
)
def test_what_json_does_not_have_gets_a_form(value: Any, line: str) -> None:
    assert json_line(value) == line
    assert json_line(json_ready(value)) == line
    assert json.dumps(json_ready(value), ensure_ascii=False, allow_nan=False).encode()


def test_what_is_not_plain_data_is_named_or_shown() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        json_line([math.nan, object()])
    assert json_line({"a": {1}, "b": b"\x00"}, other=str) == (
        '{"a": "{1}", "b": {"__bytes_encoded__": true, "data": "AA=="}}'
    )
