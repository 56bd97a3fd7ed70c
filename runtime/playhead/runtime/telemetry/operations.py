"""Operations on the spans of one run, as values: `SpanMapping` makes them of records, `otel` performs them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

__all__ = [
    "AGENT",
    "NOTHING",
    "Attribute",
    "Attributes",
    "Content",
    "End",
    "Failure",
    "Operation",
    "SpanEvent",
    "Start",
    "Tell",
    "checked_attributes",
]

Attribute = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
"""A value that an attribute of a span may have."""

Attributes = Mapping[str, Attribute]

AGENT: Final = "agent"
"""The key of the span that holds all others of one ownership of a run."""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event of a span."""

    name: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Content:
    """What a span is told: attributes, and events in order."""

    attributes: Attributes = field(default_factory=dict[str, Attribute])
    events: tuple[SpanEvent, ...] = ()

    def __add__(self, other: Content) -> Content:
        return Content({**self.attributes, **other.attributes}, (*self.events, *other.events))


NOTHING: Final = Content()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a span ends in error. With a type, it is recorded as an exception, too."""

    message: str
    type: str = ""
    stacktrace: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a span, as a child of the one with the key `parent`; None for the parent that the run has."""

    key: str
    name: str
    parent: str | None
    content: Content = NOTHING


@dataclass(frozen=True, slots=True)
class Tell:
    """Add to a span that has begun."""

    key: str
    content: Content


@dataclass(frozen=True, slots=True)
class End:
    """End a span. A status that is `unset` says neither that it succeeded nor that it failed."""

    key: str
    content: Content = NOTHING
    status: Literal["ok", "unset", "error"] = "ok"
    failure: Failure | None = None


Operation = Start | Tell | End


def checked_attributes(name: str, given: object) -> dict[str, Attribute]:
    """A user's attributes for spans.

    Raises:
        TypeError: If they are not a dict with texts as keys, or a value cannot be the value of an attribute.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a dict such as {{'team': 'support'}}, not {given!r:.80}")
    for key, value in cast("Mapping[object, object]", given).items():
        if not isinstance(key, str) or not _is_attribute(value):
            raise TypeError(
                f"{name}[{key!r}] must be a text, a number, a bool, or a list of values of one of these types, "
                f"not {value!r:.80}"
            )
    return dict(cast("Mapping[str, Attribute]", given))


def _is_attribute(value: object) -> bool:
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        return all(isinstance(item, _PLAIN) for item in items) and len({type(item) for item in items}) <= 1
    return isinstance(value, _PLAIN)


_PLAIN: Final = (str, bool, int, float)
