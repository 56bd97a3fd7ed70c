"""The context of a model: how a history that is too long for it is reduced, as values. Pure.

A reduction counts messages from the end of the history, -1 for the last. So it means the same for a reader that does not
have the first messages, and after the oldest messages of a session were cut. A session keeps all messages; between them it
has a marker for each reduction, and `in_context` leaves what a model is to be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol, cast

from playhead.runtime.core.converse import Message, Messages
from playhead.runtime.core.result_cuts import with_short_results

__all__ = [
    "KEEP_ALL",
    "ContextPolicy",
    "KeepAll",
    "Reduction",
    "Summarizing",
    "first_of",
    "in_context",
    "is_marker",
    "is_marker_data",
    "marker",
    "messages_at",
    "ranges_of",
    "reduced",
    "with_pins",
]

Ranges = tuple[tuple[int, int], ...]
"""Messages of a history: the first and the last of each run of them, counted from the end."""

_MARKER: Final = "context_reduced"
_MARKER_KEY: Final = bytes([0xA0 | len(_MARKER)]) + _MARKER.encode()  # as MessagePack has a text of less than 32 bytes
_TEXT: Final = "[Earlier messages of this conversation are left out here.]"


@dataclass(frozen=True, slots=True)
class Reduction:
    """What is left out of a history, and what takes its place.

    Attributes:
        removed: The messages that are left out.
        pinned: The messages that no later reduction may leave out.
        cut: The message whose tool results are shortened, if any.
        summary: The message that stands for those left out, if any.
        kept: How many messages follow the summary.
    """

    removed: Ranges = ()
    pinned: Ranges = ()
    cut: int | None = None
    summary: Message | None = None
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Summarizing:
    """A reduction whose summary a model is to write.

    Attributes:
        messages: Those that it is to summarize.
        system_prompt: The system prompt of that call.
        reduction: The reduction, without its summary; `removed` are those messages.
        reason: As in `ContextReduced`. Before a call a summary that fails is left out.
    """

    messages: tuple[Message, ...]
    system_prompt: str
    reduction: Reduction
    reason: Literal["overflow", "call"] = "overflow"


class ContextPolicy(Protocol):
    """Decides from the history alone when and how it is reduced: a conversation manager.

    Attributes:
        cannot: The text of the error of a run whose history does not fit and cannot be reduced; None to fail the run with
            the model's own error.
    """

    @property
    def cannot(self) -> str | None: ...

    def after_overflow(self, messages: Sequence[Message]) -> Reduction | Summarizing | None:
        """The reduction after a model refused the history because it is too long; None if it cannot be reduced."""
        ...

    def before_call(self, messages: Sequence[Message], *, call: int) -> Reduction | Summarizing | None:
        """The reduction before the run's model call number `call`, if any."""
        ...

    def at_end(self, messages: Sequence[Message]) -> Reduction | None:
        """The reduction at the end of the run, if any."""
        ...


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Reduces nothing: `NullConversationManager`, and every agent of version 0.1."""

    @property
    def cannot(self) -> str | None:
        """See `ContextPolicy`."""
        return None

    def after_overflow(self, messages: Sequence[Message]) -> None:
        """See `ContextPolicy`."""

    def before_call(self, messages: Sequence[Message], *, call: int) -> None:
        """See `ContextPolicy`."""

    def at_end(self, messages: Sequence[Message]) -> None:
        """See `ContextPolicy`."""


KEEP_ALL: Final = KeepAll()


def reduced(messages: Sequence[Message], reduction: Reduction) -> tuple[Message, ...]:
    """The history after a reduction. What it says of messages that are not there has no effect."""
    count = len(messages)
    removed, pinned = _places(reduction.removed, count), _places(reduction.pinned, count)
    found: list[Message] = []
    for place, message in enumerate(messages):
        if reduction.summary is not None and place == count - reduction.kept:
            found.append(reduction.summary)
        if place in removed:
            continue
        if place in pinned:
            message = _pinned(message)
        found.append(with_short_results(message) if place - count == reduction.cut else message)
    if reduction.summary is not None and reduction.kept == 0:
        found.append(reduction.summary)
    return tuple(found)


def _places(ranges: Ranges, count: int) -> set[int]:
    return {place for first, last in ranges for place in range(max(0, count + first), max(0, count + last + 1))}


def messages_at(messages: Sequence[Message], ranges: Iterable[tuple[int, int]]) -> list[Message]:
    """The messages of a history that `ranges` names."""
    places = _places(tuple(ranges), len(messages))
    return [message for place, message in enumerate(messages) if place in places]


def _pinned(message: Message) -> Message:
    metadata = dict(message.get("metadata") or {})
    return {**message, "metadata": {**metadata, "custom": {**(metadata.get("custom") or {}), "pinned": True}}}


def first_of(messages: Sequence[Message], count: int | None) -> Ranges:
    """The first messages of a history, `count` at most."""
    return ranges_of(range(min(count or 0, len(messages))), len(messages))


def with_pins(messages: Sequence[Message], pins: Ranges) -> Sequence[Message]:
    """The history with these messages pinned."""
    return reduced(messages, Reduction(pinned=pins)) if pins else messages


def ranges_of(places: Iterable[int], count: int) -> Ranges:
    """The messages at `places` of a history of `count` messages, as ranges counted from the end."""
    found: list[tuple[int, int]] = []
    for place in sorted(places):
        if found and found[-1][1] == place - count - 1:
            found[-1] = (found[-1][0], place - count)
        else:
            found.append((place - count, place - count))
    return tuple(found)


def marker(reduction: Reduction) -> Message:
    """What a session holds of a reduction, after the messages that were said before. A version that does not know it takes
    it for a message of the user's. Its first key says what it is: logs, which hold its bytes, count messages without it.
    """
    given = {name: value for name, value in asdict(reduction).items() if value not in ((), None, 0)}
    return cast("Message", {_MARKER: given, "role": "user", "content": [{"text": _TEXT}]})


def is_marker(message: Message) -> bool:
    """Whether a message of a session stands for a reduction."""
    return isinstance(cast("Any", message), Mapping) and _MARKER in message


def is_marker_data(data: bytes) -> bool:
    """The same of a message's stored bytes: a MessagePack map, of which the marker is the first key."""
    return data[1 : 1 + len(_MARKER_KEY)] == _MARKER_KEY


def in_context(messages: Iterable[Message]) -> Messages:
    """The history of a session for a model: without its markers, and reduced where each of them stands."""
    found: Messages = []
    for message in messages:
        if is_marker(message):
            found = list(reduced(found, _of_marker(cast("Any", message)[_MARKER])))
        else:
            found.append(message)
    return found


def _of_marker(given: Mapping[str, Any]) -> Reduction:
    ranges = {name: tuple((int(a), int(b)) for a, b in given.get(name, ())) for name in ("removed", "pinned")}
    return Reduction(**ranges, cut=given.get("cut"), summary=given.get("summary"), kept=int(given.get("kept", 0)))
