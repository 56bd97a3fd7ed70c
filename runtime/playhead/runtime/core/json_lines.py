"""Writes a value as one line of JSON that every parser accepts. Pure.

This is the one rule for values that JSON does not have: in output, in a history, and in a provider's request.
JSON has no NaN and no infinity, no bytes, and no lone surrogate. Many line readers also end a line at U+0085, U+2028
and U+2029, which JSON allows inside a string.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, cast

from playhead.runtime.core.plain import plain_text

__all__ = ["bytes_as_json", "json_line", "json_ready", "with_bytes"]

_ENDS_A_LINE: Final = re.compile("[\x85\u2028\u2029]")


def _refused(value: object) -> Any:
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def json_line(value: object, *, other: Callable[[object], Any] = _refused) -> str:
    """Encode `value` as JSON without a line break.

    Bytes become `{"__bytes_encoded__": true, "data": base64}`, Strands' form; a number that JSON does not have becomes
    the string `NaN`, `Infinity` or `-Infinity`; a lone surrogate becomes U+FFFD. Other alphabets stay readable.

    Args:
        value: Plain data.
        other: Returns the JSON form of a value that is not plain data.

    Raises:
        TypeError: If it holds something that is not plain data and `other` was not passed.
    """

    def default(inner: object) -> Any:
        return bytes_as_json(inner) if isinstance(inner, bytes | bytearray) else other(inner)

    try:
        line = json.dumps(value, default=default, ensure_ascii=False, allow_nan=False)
    except ValueError:
        line = json.dumps(json_ready(value), default=default, ensure_ascii=False)
    if line.isascii():
        return line
    return _ENDS_A_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", plain_text(line))


def bytes_as_json(data: bytes | bytearray) -> dict[str, Any]:
    """Bytes in the form that Strands uses in JSON."""
    return {"__bytes_encoded__": True, "data": base64.b64encode(data).decode()}


def json_ready(value: object) -> Any:
    """A copy of plain data that JSON can represent, with the changes described for `json_line`; other values are unchanged."""
    if isinstance(value, str):
        return value if value.isascii() else plain_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _named(value)
    if isinstance(value, bytes | bytearray):
        return bytes_as_json(value)
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_named(key) if isinstance(key, float) else json_ready(key): json_ready(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in cast("list[object]", value)]
    return value


def with_bytes(value: object) -> Any:
    """A copy of what `json_ready` gave, with bytes in the place of their form in JSON."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if items.get("__bytes_encoded__") is True and isinstance(items.get("data"), str):
            return base64.b64decode(items["data"])
        return {key: with_bytes(item) for key, item in items.items()}
    return [with_bytes(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _named(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return repr(number) if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
