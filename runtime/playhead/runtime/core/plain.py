"""Turns any Python value into plain data, which the log can store and another process can read.

Plain data is None, bool, int (of any size), float, str, bytes, and lists and string-keyed dicts of plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["MAX_DEPTH", "NotPlainError", "plain", "plain_strict", "plain_text", "without_half"]

MAX_DEPTH = 64
"""Levels of nesting that are kept: far below the limits of msgpack and the interpreter's stack, far above what tools return."""


class NotPlainError(TypeError):
    """A value that is not plain data.

    Attributes:
        path: Where the value was found, such as `[0]['json']`; empty for the value itself.
        what: The name of its type, or another reason for the refusal.
    """

    def __init__(self, what: str) -> None:
        self.path = ""
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.path or 'the value'} is {self.what}"


def plain(value: object) -> Any:
    """Copy `value` as plain data; never raises, and the copy shares nothing mutable with `value`.

    Tuples and sets become lists, keys become strings, pydantic models dicts, anything else its `str()`. A value nested
    deeper than `MAX_DEPTH`, or one that contains itself, is replaced by a string that says so.
    """
    return _copy(value, [], _lenient)


def plain_strict(value: object) -> Any:
    """Copy `value` if it is already plain data; tuples count as lists; None, bool, int and float keys as strings.

    Raises:
        NotPlainError: For any other type, a value that contains itself, or nesting deeper than `MAX_DEPTH`.
    """
    return _copy(value, [], _strict)


def plain_text(text: str) -> str:
    """Return `text` as an exact `str` that has a UTF-8 form: surrogate pairs are joined, lone surrogates replaced."""
    text = str.__str__(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def without_half(text: str) -> tuple[str, str]:
    """Return `plain_text` of a piece of text without a first half of a surrogate pair at its end, and that half.

    The other half may be at the beginning of the next piece. The half is empty if there is none.
    """
    if "\ud800" <= text[-1:] <= "\udbff":
        return plain_text(text[:-1]), text[-1]
    return plain_text(text), ""


def _copy(value: object, parents: list[int], other: Callable[[object, list[int], str | None], Any]) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if not isinstance(value, dict | list | tuple):
        return other(value, parents, None)
    if id(cast(object, value)) in parents:
        return other(cast(object, value), parents, "that contains itself")
    if len(parents) == MAX_DEPTH:
        return other(cast(object, value), parents, f"nested deeper than {MAX_DEPTH} levels")
    parents.append(id(cast(object, value)))
    try:
        if isinstance(value, dict):
            items = cast(dict[object, object], value).items()
            return {_key(key, other): _at(key, item, parents, other) for key, item in items}
        return [_at(index, item, parents, other) for index, item in enumerate(cast(list[object], value))]
    finally:
        parents.pop()


def _at(place: object, item: object, parents: list[int], other: Callable[[object, list[int], str | None], Any]) -> Any:
    try:
        return _copy(item, parents, other)
    except NotPlainError as error:
        error.path = f"[{place!r}]{error.path}"
        raise


def _key(key: object, other: Callable[[object, list[int], str | None], Any]) -> str:
    if isinstance(key, str):
        return plain_text(key)
    if other is _strict and not isinstance(key, int | float | None):
        raise NotPlainError(f"a dict with a key of type {type(key).__name__}")
    return plain_text(_text_of(key))


def _strict(value: object, parents: list[int], flaw: str | None) -> Any:
    raise NotPlainError(f"{type(value).__name__} {flaw}" if flaw else type(value).__name__)


def _lenient(value: object, parents: list[int], flaw: str | None) -> Any:
    if flaw:
        return f"<{type(value).__name__} {flaw}>"
    if isinstance(value, Set):
        return _copy(list(cast(Set[object], value)), parents, _lenient)
    if isinstance(value, BaseModel | Mapping):
        try:
            as_dict = value.model_dump() if isinstance(value, BaseModel) else dict(cast(Mapping[object, object], value))
        except Exception:  # a serializer of the user's failed; fall back to the text form
            return plain_text(_text_of(cast(object, value)))
        return _copy(as_dict, parents, _lenient)
    return plain_text(_text_of(value))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a broken __str__ must not end the run, because the value is only shown
        return f"<{type(value).__name__} that has no text form>"
