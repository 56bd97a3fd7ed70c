"""Exceptions as a log keeps them, and as a guest catches them again after a takeover."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from playhead.runtime.core.errors import RecordedError
from playhead.runtime.core.failures import failure
from playhead.runtime.core.plain import NotPlainError, plain, plain_strict

__all__ = ["CUT_OFF", "made_again", "recorded"]

CUT_OFF: Final[Mapping[str, Any]] = {
    "type": "CancelledError",
    "module": "asyncio.exceptions",
    "message": "the agent waited no longer for this",
}
"""What a step or a model call is recorded to have raised that the guest itself cut off, as a time limit of its code does."""

_MAX_ATTRIBUTE_CHARS: Final = 10_000


def recorded(error: Exception) -> dict[str, Any]:
    """An exception as plain data: its class, its message, and its public attributes that are short plain data."""
    kind = type(error)
    told: dict[str, Any] = {"type": kind.__qualname__, "module": kind.__module__, "message": failure(error).message}
    if attributes := dict(_plain_attributes(error)):
        told["attributes"] = attributes
    if isinstance(error, ValidationError):
        told["invalid"] = plain(
            {"title": error.title, "errors": error.errors(include_url=False, include_context=False)}
        )
    return told


def _plain_attributes(error: Exception) -> Iterator[tuple[str, Any]]:
    for name, value in vars(error).items():
        if not name.startswith("_"):
            with suppress(NotPlainError):
                kept = plain_strict(value)
                if len(repr(kept)) <= _MAX_ATTRIBUTE_CHARS:
                    yield name, kept


def made_again(told: Mapping[str, Any]) -> Exception:
    """An exception of the recorded class with the recorded message, so that the same `except` catches it.

    It is made without its class's `__init__`, and has the recorded attributes only. A class that is not imported here, or
    that cannot be made so, gives a `RecordedError`.
    """
    name, message = told.get("type", ""), told.get("message", "")
    if "invalid" in told:
        return _invalid(**told["invalid"])
    kind: object = sys.modules.get(told.get("module", ""))
    for part in name.split("."):
        kind = getattr(kind, part, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(Exception):  # of a class whose instances need more than a message
            error = kind.__new__(kind, message)
            error.args = (message,) if message else ()
            vars(error).update(told.get("attributes", {}))
            if str(error) == message or isinstance(error, KeyError):
                return error
    error = RecordedError(f"{name}: {message}")
    error.error_type = name
    return error


def _invalid(title: str, errors: list[Any]) -> ValidationError:
    """A `ValidationError` of pydantic, which only pydantic can make."""
    lines: list[Any] = [
        {
            "type": PydanticCustomError(one["type"], "{message}", {"message": one["msg"]}),
            "loc": tuple(one["loc"]),
            "input": one["input"],
        }
        for one in errors
    ]
    return ValidationError.from_exception_data(title, lines)
