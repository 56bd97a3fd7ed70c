"""What a tool call changes in an object that it shares with the rest of a guest, such as the context of a run."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

__all__ = ["change_again", "changes_since", "fields_of"]


def fields_of(shared: object) -> dict[str, Any]:
    """The fields of a dict, a dataclass or a pydantic model that are plain data, or become it; of anything else none."""
    told: dict[str, Any] = {}
    for name, value in _values(shared).items():
        if isinstance(value, Iterator | AsyncIterator):  # to look at its items would take them
            continue
        with suppress(PydanticSerializationError, ValueError):  # a connection, a lock: it is not kept
            told[name] = to_jsonable_python(value)
    return told


def changes_since(before: Mapping[str, Any], shared: object) -> dict[str, Any]:
    """What differs now: `{"values": …, "deleted": …}`; empty if nothing does."""
    now = fields_of(shared)
    values = {name: value for name, value in now.items() if name not in before or before[name] != value}
    deleted = [name for name in before if name not in _values(shared)]
    return {"values": values, "deleted": deleted} if values or deleted else {}


def change_again(shared: object, changes: Mapping[str, Any]) -> None:
    """Make recorded changes again. A field gets a value of its declared type, so a dict becomes the model that it was."""
    for name, value in changes.get("values", {}).items():
        if isinstance(shared, dict):
            shared[name] = value
            continue
        with suppress(Exception):  # of a type that pydantic does not know, or that only type checkers import
            value = TypeAdapter[Any](_hint(type(shared), name)).validate_python(value)
        setattr(shared, name, value)
    if isinstance(shared, dict):
        for name in changes.get("deleted", ()):
            cast("dict[str, Any]", shared).pop(name, None)


def _hint(kind: type, name: str) -> Any:
    """The declared type of a field; that of another field may be known to type checkers only.

    Raises:
        NameError: If this one is.
    """
    for base in kind.__mro__:
        if name in (declared := inspect.get_annotations(base)):
            alone = type(base.__name__, (), {"__annotations__": {name: declared[name]}, "__module__": base.__module__})
            return typing.get_type_hints(alone)[name]
    return Any


def _values(shared: object) -> dict[str, Any]:
    if isinstance(shared, dict):
        return {name: value for name, value in cast("dict[Any, Any]", shared).items() if isinstance(name, str)}
    if isinstance(shared, BaseModel) or (dataclasses.is_dataclass(shared) and not isinstance(shared, type)):
        return {name: value for name, value in vars(shared).items() if not name.startswith("_")}
    return {}
